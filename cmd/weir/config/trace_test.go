package config

import (
	"strings"
	"testing"
)

func TestTracersOfItselfAreReadAndChecked(t *testing.T) {
	c, err := Load("", []string{"WEIR_TRACE_TRACERS=accept,gc", "WEIR_TRACE_BUDGET=0.01"})
	if err != nil || len(c.Trace.Tracers) != 2 || c.Trace.Budget != 0.01 {
		t.Fatalf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		"tracers: [accept, lightning]": "x:2: trace.tracers is lightning: want names of accept, read,",
		"tracers: [runq, runq]":        "x:2: trace.tracers is runq: want each of them once",
		"tracers: runq":                "x:2: trace.tracers is not a list",
		"budget: 3 %":                  `x:2: trace.budget is "3 %": want a part, 0 to 1`,
		"budget: 0.0001":               "x:2: trace.budget is 0.0001: want a share of one CPU, 0.001 to 1",
		"threshold: 0s":                "x:2: trace.threshold is 0s: want a duration above 0",
		"threshold_ms: 10":             "x:2: trace.threshold_ms is not a key: did you mean threshold?",
	} {
		if _, err := Parse("x", []byte("trace:\n  "+text+"\n")); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
