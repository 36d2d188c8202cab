package test

import (
	"encoding/json"
	"strings"
	"testing"
)

// benchResult is what the scenarios beside other servers have in common.
type benchResult struct {
	Host  struct{ Kernel string }
	Conns int
	Turns []struct {
		Server string
		Sweep  struct{ Expected, Deliveries uint64 }
		Warm   struct {
			PerSecond float64 `json:"connects_per_second"`
		}
		Reopened int
	}
	Bars []struct{ Name, Skipped string }
}

func TestE2EWeirIsMeasuredBesideTheOtherServers(t *testing.T) {
	for _, tt := range []struct {
		args string
		bars int
		turn func(r *benchResult, i int) bool
	}{
		{"bench fanout --conns 200 --gather 50 --duration 1s --reps 1", 5, func(r *benchResult, i int) bool {
			return r.Turns[i].Sweep.Expected == 2000 && r.Turns[i].Sweep.Deliveries == 2000
		}},
		{"bench connect --conns 200 --workers 2 --reps 1", 2, func(r *benchResult, i int) bool { return r.Turns[i].Warm.PerSecond > 0 }},
		{"bench hold --conns 300 --workers 2 --settle 1s --churn 2s --churn-percent 10", 2, func(r *benchResult, i int) bool {
			return r.Turns[i].Reopened >= 30
		}},
	} {
		out, errs, code := weir(t, append(strings.Fields(tt.args), "--json")...)
		var r benchResult
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
			t.Errorf("%s: exit code %d, %v: %s%s", tt.args, code, err, out, errs)
			continue
		}
		var names []string
		for i := range r.Turns {
			names = append(names, r.Turns[i].Server)
			if !tt.turn(&r, i) {
				t.Errorf("%s: %+v", tt.args, r.Turns[i])
			}
		}
		if strings.Join(names, " ") != "floor minimal weir" || r.Host.Kernel == "" || len(r.Bars) != tt.bars {
			t.Errorf("%s: %q on %q, %+v", tt.args, names, r.Host.Kernel, r.Bars)
		}
		for _, b := range r.Bars {
			if b.Skipped != "" {
				t.Errorf("%s: %+v", tt.args, b)
			}
		}
	}
}
