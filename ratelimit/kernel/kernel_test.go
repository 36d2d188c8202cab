package kernel

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/bpf/xdp"
	"weir/ratelimit"
)

// TestBPFDecidesAsGoDoes holds the kernel's arithmetic to the vectors that Go's is held to.
func TestBPFDecidesAsGoDoes(t *testing.T) {
	bpftest.Require(t, "5.12", "BPF test runs")
	b, err := os.ReadFile("../testdata/gcra.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ Interval, Tolerance, TAT, Now, Next, Clamped uint64 }
	if err := json.Unmarshal(b, &vectors); err != nil || len(vectors) < 200 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	gcra := bpftest.GCRA(t)
	for i, v := range vectors {
		if next, clamped := gcra(v.Interval, v.Tolerance, v.TAT, v.Now); next != v.Next || clamped != v.Clamped {
			t.Errorf("vector %d: %d, clamped %d, want %d, %d", i, next, clamped, v.Next, v.Clamped)
		}
	}
}

// program records what is written to it.
type program struct{ steps []any }

func (p *program) SetClass(_ int, c xdp.Class) error { p.steps = append(p.steps, c); return nil }
func (p *program) ReplaceAllow(allow []netip.Prefix) error {
	p.steps = append(p.steps, allow)
	return nil
}
func (p *program) SetMode(m xdp.Mode) error { p.steps = append(p.steps, m); return nil }

func TestPolicyIsWrittenWithTheModeLast(t *testing.T) {
	allow := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	var p program
	err := Apply(&p, Policy{Client: ratelimit.Rate{Count: 1000, Per: time.Second}, Burst: 50, Total: ratelimit.Rate{Count: 1000, Per: time.Second}, Allow: allow, Mode: xdp.ModeEnforce})
	if err != nil {
		t.Fatal(err)
	}
	class := xdp.Class{Interval: 16e6, Tolerance: 49 * 16e6, TotalInterval: 16e6, TotalTolerance: 49 * 16e6}
	if want := []any{class, allow, xdp.ModeEnforce}; !reflect.DeepEqual(p.steps, want) {
		t.Errorf("wrote %v, want %v", p.steps, want)
	}
}

func TestBadPolicyWritesNothing(t *testing.T) {
	var p program
	if err := Apply(&p, Policy{}); !errors.Is(err, ratelimit.ErrOutOfRange) || len(p.steps) > 0 {
		t.Errorf("%v, wrote %v", err, p.steps)
	}
}
