package hooks

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
)

func TestEachHookSaysWhatIsLostWithoutIt(t *testing.T) {
	seen := map[string]bool{}
	guards := 0
	for _, p := range probes() {
		if p.Name == "" || p.Lost == "" || p.Since == "" || p.try == nil || seen[p.Name] {
			t.Errorf("%+v", p.Hook)
		}
		seen[p.Name] = true
		if p.Guard {
			guards++
		}
	}
	if len(seen) < 10 || guards == 0 || !seen[typesName] {
		t.Errorf("%d hooks, %d of quotas", len(seen), guards)
	}
}

func TestErrorsAreExplained(t *testing.T) {
	refused := fmt.Errorf("load program: %w", syscall.EPERM)
	for _, tt := range []struct {
		name      string
		err       error
		permitted bool
		want      error
	}{
		{"there", nil, true, nil},
		{"one of several is refused", refused, true, ErrForbidden},
		{"all are refused", refused, false, ErrPrivileges},
		{"an old kernel", fmt.Errorf("load program: %w", syscall.EINVAL), true, ErrMissing},
		{"no types", os.ErrNotExist, false, ErrMissing},
		{"no helper", ebpf.ErrNotSupported, true, ErrMissing},
	} {
		got := explain(tt.err, tt.permitted)
		if !errors.Is(got, tt.want) || (got == nil) != (tt.want == nil) || tt.err != nil && !errors.Is(got, tt.err) {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
