package rights_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"weir/bpf/bpftest"
	"weir/bpf/rights"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

const childEnv = "WEIR_RIGHTS_TEST_CHILD"

// aStorage makes the kind of map whose refusal reads as a feature that is missing.
func aStorage() error {
	number := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.TaskStorage, Flags: 1, // BPF_F_NO_PREALLOC
		KeySize: 4, ValueSize: 4, Key: number, Value: number,
	})
	if err != nil {
		return err
	}
	return m.Close()
}

// TestBPFWhatIsRefusedIsNotTakenForAKernelWithoutIt makes maps as root and as nobody; the latter in a process of its own, as the
// library remembers what it found missing.
func TestBPFWhatIsRefusedIsNotTakenForAKernelWithoutIt(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		err := aStorage()
		fmt.Printf("%v %v %v", err != nil, errors.Is(err, ebpf.ErrNotSupported), rights.Refused(err)) //nolint:forbidigo // it is a child that tells its parent
		return
	}
	bpftest.Require(t, "5.15", "storage of tasks")
	if err := aStorage(); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// It runs in /: the directory of this one need not be anybody's.
	cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3", "-test.run", "^"+t.Name()+"$", "-test.v=false")
	file, err := os.Open(exe) //nolint:gosec // its own
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	const nobody = 65534
	cmd.Dir, cmd.Env, cmd.ExtraFiles = "/", append(os.Environ(), childEnv+"=1"), []*os.File{file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var failed, reads, refused bool
	if _, err := fmt.Sscan(string(out), &failed, &reads, &refused); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !failed || !refused {
		t.Errorf("failed %v, reads as missing %v, refused %v", failed, reads, refused)
	}
	if !reads {
		t.Log("this kernel and library say what it is; ask whether Refused is needed still")
	}
}

func TestRefusedIsNotWhatTheVerifierSays(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{os.ErrPermission, true},
		{fmt.Errorf("load: %w", syscall.EPERM), true},
		{&ebpf.VerifierError{Cause: syscall.EACCES}, false},
		{os.ErrNotExist, false},
	} {
		if got := rights.Refused(tt.err); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.err, got, tt.want)
		}
	}
}
