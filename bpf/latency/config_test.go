package latency

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
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

func TestErrorsSayWhatToDo(t *testing.T) {
	tracer := &Tracer{about: About{Name: Read, Since: "6.3"}}
	err := tracer.explain("sk_data_ready", ebpf.ErrNotSupported)
	hook, ok := errors.AsType[*HookError](err)
	if !ok || hook.Hook != "sk_data_ready" || !errors.Is(err, ErrKernel) || !errors.Is(err, ebpf.ErrNotSupported) {
		t.Errorf("%v", err)
	}
	if want := "trace read: kernel lacks a hook: sk_data_ready: use Linux 6.3 or newer"; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v: want %s", err, want)
	}
	if err := tracer.explain("", os.ErrPermission); !errors.Is(err, ErrNotPermitted) || !strings.Contains(err.Error(), "root") {
		t.Errorf("%v", err)
	}
	if err := tracer.explain("", os.ErrDeadlineExceeded); errors.Is(err, ErrKernel) || errors.Is(err, ErrNotPermitted) {
		t.Errorf("another error: %v", err)
	}
}
