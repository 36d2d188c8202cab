package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/cmd/weir/config"
)

func TestAProcessKnowsWhetherTheKernelKnowsItsID(t *testing.T) {
	dir := t.TempDir()
	for name, to := range map[string]string{"host": "pid:[4026531836]", "container": "pid:[4026532213]"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := knownByKernel(filepath.Join(dir, "host")); err != nil {
		t.Errorf("on the host: %v", err)
	}
	for name, want := range map[string]string{"container": "trace it from the host", "nothing": "find the namespace of this process"} {
		if err := knownByKernel(filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

func TestNobodyIsTracedUnlessTracersAreNamed(t *testing.T) {
	if traces, err := newTraces(config.Default().Trace, itself, slog.New(slog.DiscardHandler)); traces != nil || err != nil {
		t.Errorf("%v, %v", traces, err)
	}
}
