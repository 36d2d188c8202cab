package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"weir/bpf/bpftest"
)

// traced is a report of weir trace, as far as it is looked at.
type traced struct {
	Of         string
	Histograms []struct {
		Count uint64
		P50   float64 `json:"p50_seconds"`
	}
	Classes []struct {
		Port      uint16
		Direction string
		Conns     uint64
	}
	Cost struct{ Runs uint64 }
}

func TestE2ETraceSeesARunningWeir(t *testing.T) {
	bpftest.Require(t, "6.3", "sk_data_ready")
	p := serve(t)
	_, text, _ := strings.Cut(p.edge, ":")
	port, _ := strconv.Atoi(text)
	for _, what := range []string{"accept", "read", "runq", "stall", "softirq"} {
		of := []string{"--pid", strconv.Itoa(p.cmd.Process.Pid)}
		if what == "softirq" {
			of = nil
		}
		cmd := exec.Command(binary(t), append([]string{"trace", what, "--duration", "0s", "--interval", "100ms", "--json"}, of...)...)
		trace := &process{tb: t, cmd: cmd}
		trace.launch()
		trace.until(what+" is counted", func() error {
			conn, _, err := p.raw("/ws/topic")
			if err != nil {
				return err
			}
			_ = conn.Close()
			for line := range strings.Lines(trace.out.String()) {
				var r traced
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					return fmt.Errorf("%q: %w", line, err)
				}
				if len(r.Histograms) > 0 && r.Histograms[0].Count > 0 && r.Histograms[0].P50 > 0 && r.Cost.Runs > 0 {
					return nil
				}
			}
			return errors.New("nothing yet")
		})
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s, interrupted: %v: %s", what, err, trace.out.String())
		}
	}
	if _, _, err := p.raw("/ws/topic"); err != nil {
		t.Fatal(err)
	}
	out, errs, code := weir(t, "trace", "rtt", "--port", text, "--duration", "200ms", "--json")
	var r traced
	if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil || len(r.Classes) != 1 || r.Classes[0].Port != uint16(port) || r.Classes[0].Direction != "in" || r.Classes[0].Conns == 0 { //nolint:gosec // a port
		t.Errorf("rtt: exit code %d, %v: %s%s", code, err, out, errs)
	}
}

func TestE2ETracersAreMeasured(t *testing.T) {
	bpftest.Require(t, "6.3", "sk_data_ready")
	out, errs, code := weir(t, "bench", "trace", "--only", "stall,read", "--rate", "1000", "--duration", "200ms", "--reps", "1", "--json")
	var r struct {
		Rows []struct {
			Tracer string
			Seen   float64 `json:"seen_share"`
			Own    float64 `json:"own_ns_per_event"`
		}
		Bars []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || len(r.Rows) != 2 || len(r.Bars) != 2 {
		t.Fatalf("exit code %d, %v: %s%s", code, err, out, errs)
	}
	for _, row := range r.Rows {
		if row.Seen < 0.9 || row.Own <= 0 {
			t.Errorf("%+v", row)
		}
	}
}
