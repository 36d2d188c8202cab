package bench

import (
	"strings"
	"testing"
)

func TestVariablesOfTheOtherWeirAreHeldToTheirForm(t *testing.T) {
	if err := (FanoutConfig{With: []string{"GOMAXPROCS=2", "A="}}).Validate(); err != nil {
		t.Error(err)
	}
	for want, cfg := range map[string]FanoutConfig{
		"--with is GOMAXPROCS: want KEY=VALUE": {With: []string{"GOMAXPROCS"}},
		"--with is =2: want KEY=VALUE":         {With: []string{"=2"}},
		"none without weir among the servers":  {With: []string{"A=1"}, Servers: []string{ServerFloor}},
		"--servers is weir-with: want some of": {With: []string{"A=1"}, Servers: []string{ServerWeir, ServerWeirWith}},
	} {
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
	if got := (FanoutConfig{With: []string{"A=1"}}).withDefaults().measured(); strings.Join(got, " ") != "floor minimal weir weir-with" {
		t.Error(got)
	}
	if got := (FanoutConfig{}).withDefaults().measured(); strings.Join(got, " ") != "floor minimal weir" {
		t.Error(got)
	}
}

func TestRatiosOfTheOtherWeirAreOfOneRepetition(t *testing.T) {
	var turns []FanoutTurn
	for rep, p99 := range []float64{10, 100, 50} {
		turns = append(turns,
			FanoutTurn{Server: ServerWeir, Rep: rep, Sweep: &Step{MicrosCPU: 0.5, P50: 5, P99: p99}, Gather: &Step{}},
			FanoutTurn{Server: ServerWeirWith, Rep: rep, Sweep: &Step{MicrosCPU: 1, P50: 5, P99: p99 * float64(rep+1)}, Gather: &Step{P99: 1}},
		)
	}
	var out strings.Builder
	printWithRatios(&out, []string{"GOMAXPROCS=2", "B=1"}, withRatios(turns))
	const want = `
weir with GOMAXPROCS=2 B=1 / without, in the same repetition
  sweep   CPU a delivery  2.00x, 2.00 to 2.00
  sweep   p50             1.00x, 1.00 to 1.00
  sweep   p99             2.00x, 1.00 to 3.00
`
	if out.String() != want {
		t.Errorf("%s, want %s", &out, want)
	}
	if ratios := withRatios(turns[:1]); ratios != nil {
		t.Error(ratios)
	}
}
