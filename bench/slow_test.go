package bench

import (
	"strings"
	"testing"
)

func TestSlowConfigSaysAllThatIsWrong(t *testing.T) {
	if err := (SlowConfig{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	err := SlowConfig{Conns: -1, Stalled: 5000, Reps: -1}.Validate()
	for _, want := range []string{"--conns is -1", "--stalled is 5000: want 1 to 900", "--reps is -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
}
