package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"weir/bpf/latency"
	"weir/cmd/weir/config"
)

// newTraces are the tracers that a process runs on those that serve, itself unless pids says others; nil if it is to run none.
func newTraces(cfg config.Trace, pids func() []int, log *slog.Logger) (*latency.Export, error) {
	if len(cfg.Tracers) == 0 {
		return nil, nil //nolint:nilnil // there are none
	}
	return latency.NewExport(latency.ExportConfig{
		Tracers: cfg.Tracers, Budget: cfg.Budget, Threshold: cfg.Threshold,
		PIDs: func() ([]int, error) {
			if err := knownByKernel(selfNamespace); err != nil {
				return nil, err
			}
			return pids(), nil
		},
	}, log)
}

// itself is this process.
func itself() []int { return []int{os.Getpid()} }

// The namespace of processes of this one, and the initial one of the kernel (PROC_PID_INIT_INO of include/linux/proc_ns.h).
const (
	selfNamespace    = "/proc/self/ns/pid"
	initialNamespace = "pid:[4026531836]"
)

// knownByKernel says why a process's own id is not the one that the kernel's programs know it by.
func knownByKernel(namespace string) error {
	name, err := os.Readlink(namespace)
	if err != nil {
		return fmt.Errorf("find the namespace of this process: %w", err)
	}
	if name != initialNamespace {
		return errors.New("this process has ids of its own, as in a container: trace it from the host, by weir trace --pid and --listen")
	}
	return nil
}
