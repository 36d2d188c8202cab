package test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestE2EWeirsGatewayIsMeasured runs the shortest of the scenario that has each kind of turn.
func TestE2EWeirsGatewayIsMeasured(t *testing.T) {
	out, errs, code := weir(t, strings.Fields("bench gateway --peers weir --conns 8 --open 8 --rate 200 --duration 1s --reps 1 --json")...)
	var r struct {
		Versions map[string]string
		Turns    []struct {
			Peer, Kind        string
			Requests, Refused uint64
			Errors            uint64
			MicrosCPU         float64 `json:"gateway_cpu_us_per_request"`
		}
		Rows []struct{ Peer, Kind string }
		Bars []struct{ Name, Skipped string }
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v: %s%s", code, err, out, errs)
	}
	var kinds []string
	for _, turn := range r.Turns {
		kinds = append(kinds, turn.Kind)
		if turn.Peer != "weir" || turn.Requests == 0 || turn.Errors > 0 || turn.MicrosCPU <= 0 {
			t.Errorf("%+v", turn)
		}
		if turn.Kind == "refused" && turn.Refused < turn.Requests*99/100 {
			t.Errorf("%+v", turn)
		}
		if turn.Kind == "open" && turn.Requests != 200 {
			t.Errorf("%+v", turn)
		}
	}
	if strings.Join(kinds, " ") != "closed refused open" || len(r.Rows) != 3 {
		t.Errorf("%q, %+v", kinds, r.Rows)
	}
	for _, program := range []string{"nginx", "wrk"} {
		if !strings.Contains(strings.ToLower(r.Versions[program]), program) {
			t.Errorf("version of %s is %q", program, r.Versions[program])
		}
	}
	for _, b := range r.Bars {
		if (b.Skipped == "") != (b.Name == "requests that failed: weir") {
			t.Errorf("%+v", b)
		}
	}
}
