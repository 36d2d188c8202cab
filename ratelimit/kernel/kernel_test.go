package kernel

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/bpf/xdp"
	"weir/ratelimit"
)

// TestBPFDecidesAsGoDoes holds the kernel's arithmetic to the vectors that Go's is held to.
func TestBPFDecidesAsGoDoes(t *testing.T) {
	bpftest.Require(t, "5.15", "BPF test runs")
	b, err := os.ReadFile("../testdata/gcra.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Decisions []struct{ Cost, Limit, TAT, Now, Next, Clamped uint64 }
		ByteCosts []struct {
			Mult       uint64
			Shift      uint32
			Bytes, Out uint64
		}
	}
	if err := json.Unmarshal(b, &golden); err != nil || len(golden.Decisions) < 200 || len(golden.ByteCosts) < 100 {
		t.Fatalf("%d decisions, %d costs, %v", len(golden.Decisions), len(golden.ByteCosts), err)
	}
	bucket := bpftest.NewBucket(t)
	for i, v := range golden.Decisions {
		if next, clamped := bucket.GCRA(v.Cost, v.Limit, v.TAT, v.Now); next != v.Next || clamped != v.Clamped {
			t.Errorf("decision %d: %d, clamped %d, want %d, %d", i, next, clamped, v.Next, v.Clamped)
		}
	}
	for i, v := range golden.ByteCosts {
		if out := bucket.ByteCost(v.Bytes, v.Mult, v.Shift); out != v.Out {
			t.Errorf("cost %d: %d, want %d", i, out, v.Out)
		}
	}
}

// program records what is written to it.
type program struct {
	policies []xdp.Policy
	mode     xdp.Mode
	refuse   error
	clients  []xdp.Client
	attached bool
	attaches int

	mu         sync.Mutex // of what follows, which Run looks at
	bound      []xdp.Binding
	identity   *xdp.Client
	escalated  []xdp.Escalation
	sweeps     int
	sweepError error
}

func (p *program) Bind(local, remote netip.AddrPort, identity, class string) error {
	p.bound = append(p.bound, xdp.Binding{Local: local, Remote: remote, Name: identity + " of " + class})
	return p.refuse
}

func (p *program) Unbind(_, _ netip.AddrPort) error {
	p.bound = nil
	return p.refuse
}

func (p *program) Bound(xdp.ClientName, int) ([]xdp.Binding, int, error) {
	return p.bound, len(p.bound), p.refuse
}

func (p *program) ClientOf(a netip.Addr) xdp.ClientName {
	return xdp.ClientName{Prefix: netip.PrefixFrom(a, a.BitLen())}
}

func (p *program) FindIdentity(string) (xdp.Client, bool) {
	if p.identity == nil {
		return xdp.Client{}, false
	}
	return *p.identity, true
}

func (p *program) Escalate(e xdp.Escalation) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.escalated = append(p.escalated, e)
	return p.refuse
}

func (p *program) Relieve(c xdp.ClientName) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.escalated)
	p.escalated = slices.DeleteFunc(p.escalated, func(e xdp.Escalation) bool { return e.Client == c })
	return len(p.escalated) < n, p.refuse
}

func (p *program) Escalation(c xdp.ClientName, _ uint64) (xdp.Escalation, bool) {
	i := slices.IndexFunc(p.escalated, func(e xdp.Escalation) bool { return e.Client == c })
	if i < 0 {
		return xdp.Escalation{}, false
	}
	return p.escalated[i], true
}

func (p *program) Escalations(uint64) ([]xdp.Escalation, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.escalated), p.refuse
}

func (p *program) Sweep(uint64) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweeps++
	return 0, p.sweepError
}

func (p *program) Replace(next xdp.Policy) error {
	if p.refuse == nil {
		p.policies = append(p.policies, next)
	}
	return p.refuse
}

func (p *program) Switch(next xdp.Policy, m xdp.Mode) error {
	if p.refuse == nil {
		p.mode = m
	}
	return p.Replace(next)
}
func (p *program) Mode() xdp.Mode                     { return p.mode }
func (p *program) Listeners() ([]xdp.Listener, error) { return nil, nil }
func (p *program) Stamp([]xdp.Listener) (int, error)  { return 0, nil }
func (p *program) Attached() (bool, error)            { return p.attached, nil }
func (p *program) Find(netip.Addr) []xdp.Client       { return p.clients }
func (p *program) Attach() (xdp.AttachMode, error) {
	p.attached, p.attaches = true, p.attaches+1
	return xdp.AttachNative, nil
}

func thousand() Policy {
	return Policy{Classes: []Class{{
		Name:   Default,
		Client: Quotas{Packets: ratelimit.Rate{Count: 1000, Per: time.Second}, PacketBurst: 50},
	}}}
}

func agent(t *testing.T, prog *program, peers ...Peer) *Agent {
	t.Helper()
	a, err := NewAgent(prog, thousand(), xdp.ModeEnforce, func() []Peer { return peers }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestPolicyIsCompiledWithTheDefaultClassFirst(t *testing.T) {
	p := Policy{
		Classes: []Class{
			{Name: "a", Client: Quotas{Bytes: ratelimit.ByteRate{Bytes: 1e6, Per: time.Second}, Concurrent: 7}},
			{Name: Default, Client: Quotas{Packets: ratelimit.Rate{Count: 1000, Per: time.Second}, PacketBurst: 50}},
		},
		Entries: []Entry{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Class: "a"}, {Prefix: netip.MustParsePrefix("198.51.100.0/24"), Deny: true}},
	}
	out, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	if got := out.Classes[0].Client.Packets; got != (xdp.Quota{Interval: 16e6, Limit: 50 * 16e6}) {
		t.Errorf("default: %+v", got)
	}
	if a := out.Classes[1].Client; a.Bytes.Mult == 0 || a.Concurrent != 7 || p.Name(1) != "a" || p.Name(0) != Default {
		t.Errorf("a: %+v", a)
	}
	if out.Entries[0].Class != 1 || !out.Entries[1].Deny {
		t.Errorf("%+v", out.Entries)
	}
	if err := out.Validate(xdp.Config{}); err != nil {
		t.Error(err)
	}
}

func TestWhatIsWrongIsSaidAtOnce(t *testing.T) {
	_, err := Compile(Policy{
		Classes: []Class{
			{Name: "fast", Client: Quotas{Packets: ratelimit.Rate{Count: 1e8, Per: time.Second}}},
			{Name: "small", Client: Quotas{Bytes: ratelimit.ByteRate{Bytes: 1e6, Per: time.Second}, ByteBurst: 100}},
			{Name: "small"},
			{Name: "wide", Aggregate: Quotas{Concurrent: 1}},
		},
		Entries: []Entry{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Class: "none"}},
	})
	for _, want := range []string{
		"class fast: packets: ", "class small: bytes: ", "the burst is below a packet", "class small is there twice",
		"class wide: aggregate: it has quotas and no prefix", "there is no class default", `192.0.2.0/24: there is no class "none"`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if !errors.Is(err, ratelimit.ErrOutOfRange) {
		t.Error("it is not ErrOutOfRange")
	}
}

func TestBadPolicyWritesNothing(t *testing.T) {
	var prog program
	a := agent(t, &prog)
	n := len(prog.policies)
	if _, err := a.Apply(Change{Policy: Policy{}}); err == nil || len(prog.policies) != n {
		t.Errorf("%v, wrote %v", err, prog.policies)
	}
	prog.refuse = xdp.ErrListFull
	if _, err := a.Apply(Change{Policy: thousand()}); !errors.Is(err, xdp.ErrListFull) {
		t.Errorf("got %v", err)
	}
}

func TestPolicyThatCutsOffAPeerIsRefusedUnlessForced(t *testing.T) {
	operator := Peer{netip.MustParseAddr("192.0.2.7"), "connected by SSH"}
	deny := thousand()
	deny.List(Entry{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Deny: true})
	slow := Policy{Classes: []Class{{Name: Default, Client: Quotas{Packets: ratelimit.Rate{Count: 1, Per: time.Second}}}}}
	thin := Policy{Classes: []Class{{Name: Default, Client: Quotas{Bytes: ratelimit.ByteRate{Bytes: 2000, Per: time.Second}}}}}
	allowed := slow
	allowed.List(Entry{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Allow: true})
	for _, tt := range []struct {
		name   string
		policy Policy
		want   string
	}{
		{"denied", deny, "192.0.2.0/24 is denied"},
		{"too few packets", slow, "class default has 1/s packets"},
		{"too few bytes", thin, "class default has 2kB/s"},
		{"allowed", allowed, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := agent(t, &program{}, operator)
			_, err := a.Apply(Change{Policy: tt.policy})
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrCuts) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "192.0.2.7 (connected by SSH)")) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if _, err := a.Apply(Change{Policy: tt.policy, Force: true}); err != nil {
				t.Errorf("forced: %v", err)
			}
		})
	}
}

func TestPrefixIsListedOnce(t *testing.T) {
	p := thousand()
	at := netip.MustParsePrefix("192.0.2.0/24")
	p.List(Entry{Prefix: at, Allow: true})
	p.List(Entry{Prefix: netip.MustParsePrefix("192.0.2.9/24"), Deny: true})
	p.List(Entry{Prefix: netip.MustParsePrefix("192.0.2.128/25"), Class: Default})
	if e, found := p.Find(netip.MustParseAddr("::ffff:192.0.2.1")); !found || !e.Deny || len(p.Entries) != 2 {
		t.Errorf("%+v, %v, %v", e, found, p.Entries)
	}
	if e, _ := p.Find(netip.MustParseAddr("192.0.2.200")); e.Deny || e.Class != Default {
		t.Errorf("%+v", e)
	}
	p.List(Entry{Prefix: at})
	if _, found := p.Find(netip.MustParseAddr("192.0.2.1")); found {
		t.Error("it is still listed")
	}
}

func TestExplainSaysWhatIsLeftAndWhenTheNextPasses(t *testing.T) {
	const now = uint64(1e12)
	prog := &program{}
	a := agent(t, prog)
	client := netip.MustParseAddr("192.0.2.7")
	if e := a.Explain(client, now); e.Proved || !strings.Contains(e.Text, "it has no slot") {
		t.Errorf("%+v", e)
	}
	slot := xdp.Client{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Packets: 60, Dropped: 10, Reason: xdp.ReasonQuotaPackets, SeenNanos: now - 2e6, Connections: 3}
	for _, tt := range []struct {
		name  string
		ahead uint64 // of the clock, ns
		left  uint64
		wait  string
		text  string
	}{
		{"nothing used", 0, 50, "0s", "its next packet passes"},
		{"ten used", 10e6, 40, "0s", "its next packet passes"},
		{"all used", 50e6, 0, "1ms", "its next packet passes in 1ms: it has used up its packets (1000/s)"},
	} {
		slot.PacketTAT = (now + tt.ahead) * ratelimit.TicksPerNano
		prog.clients = []xdp.Client{slot}
		e := a.Explain(client, now)
		if q := e.Slots[0].Quotas[0]; !e.Proved || q.Left != tt.left || q.NextIn != tt.wait || e.Text != tt.text {
			t.Errorf("%s: %+v, %q", tt.name, q, e.Text)
		}
		if s := e.Slots[0]; s.LastReason != "quota_packets" || s.SeenAgo != "2ms" || s.Connections != 3 {
			t.Errorf("%+v", s)
		}
	}
}
