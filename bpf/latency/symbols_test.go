//go:build linux

package latency

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

func TestSymbolsNameTheCodeOfAGoProgram(t *testing.T) {
	pc, _, line, _ := runtime.Caller(0)
	pid := uint32(os.Getpid()) //nolint:gosec // a pid
	want := "weir/bpf/latency.TestSymbolsNameTheCodeOfAGoProgram symbols_test.go:" + strconv.Itoa(line)
	s := NewSymbols()
	if got := s.User(pid, uint64(pc), true); got != want {
		t.Errorf("this line is %q: want %q", got, want)
	}
	if got := s.User(pid, 0x1234, false); got != "0x1234" {
		t.Errorf("an address that is not mapped is %q", got)
	}
	if got := s.User(nobody, uint64(pc), false); !strings.HasPrefix(got, "0x") {
		t.Errorf("an address of no process is %q", got)
	}
}

func TestSymbolsNameTheCodeOfTheKernel(t *testing.T) {
	s := NewSymbols()
	s.root = t.TempDir()
	text := "ffffffff81000000 T _stext\nffffffff81000100 t second\nffffffff82000000 D data\n0000000000000000 T hidden\n"
	if err := os.WriteFile(filepath.Join(s.root, "kallsyms"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[uint64]string{
		0xffffffff81000000: "_stext", 0xffffffff810000ff: "_stext", 0xffffffff81000180: "second", 0x10: "0x10",
	} {
		if got := s.Kernel(address); got != want {
			t.Errorf("%#x is %q: want %q", address, got, want)
		}
	}
	s.kernel, s.root = nil, filepath.Join(s.root, "none")
	if got := s.Kernel(0xffffffff81000000); got != "0xffffffff81000000" {
		t.Errorf("of a kernel that tells nothing: %q", got)
	}
}
