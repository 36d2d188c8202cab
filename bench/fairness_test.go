package bench

import (
	"strings"
	"testing"
)

func TestFairnessConfigSaysAllThatIsWrong(t *testing.T) {
	if err := (FairnessConfig{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	err := FairnessConfig{Small: -1, BigRate: 1e6, Duration: 1, Reps: 101}.Validate()
	for _, want := range []string{"--small is -1: want 1 to 15000", "--big-rate is 1e+06", "--duration is 1ns", "--reps is 101"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
}
