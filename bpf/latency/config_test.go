package latency

import (
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"
)

func TestEachWrongFieldIsNamed(t *testing.T) {
	for name, tt := range map[string]struct {
		tracer string
		cfg    Config
		want   []string
	}{
		"all is fine":               {Read, Config{PIDs: []int{1}, Ports: []uint16{80}}, nil},
		"a tracer of the host":      {Softirq, Config{PIDs: []int{1}, Ports: []uint16{80}}, []string{"PIDs", "Ports"}},
		"too many":                  {Read, Config{PIDs: make([]int, MaxPIDs+1), Ports: make([]uint16, MaxPorts+1)}, []string{"PIDs", "Ports"}},
		"no process":                {Read, Config{PIDs: []int{-1}}, []string{"PIDs"}},
		"a threshold of no loop":    {Read, Config{Threshold: time.Second}, []string{"Threshold"}},
		"a threshold below nothing": {Stall, Config{Threshold: -1}, []string{"Threshold"}},
	} {
		var got []string
		err := tt.cfg.Validate(tt.tracer)
		if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // what was joined
			for _, one := range joined.Unwrap() {
				if f, ok := errors.AsType[*FieldError](one); ok {
					got = append(got, f.Field)
				}
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v are wrong: want %v (%v)", name, got, tt.want, err)
		}
	}
}

func TestOpenKnowsItsTracers(t *testing.T) {
	if _, err := Open("lightning", Config{}); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown tracer: %v", err)
	}
	if _, err := Open(Softirq, Config{PIDs: []int{1}}); err == nil {
		t.Error("a wrong field is taken")
	}
	if _, err := Open(Runq, Config{}); runtime.GOOS != "linux" && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("not on Linux: %v", err)
	}
}
