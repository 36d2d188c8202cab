package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"weir/bench/httpload"
)

// startHTTPLoad starts a load at a fixed rate, and waits until its conns are open. End it.
func startHTTPLoad(ctx context.Context, start Starter, cfg httpload.Config) (*Worker, error) {
	w, err := startPiped(start, "bench-worker", "http")
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = w.cmd.Process.Kill() }) // one that is gone needs none
	if err := json.NewEncoder(w.in).Encode(cfg); err != nil {
		w.End()
		return nil, fmt.Errorf("tell a load generator: %w", err)
	}
	if _, err := w.httpReport(); err != nil {
		w.End()
		return nil, err
	}
	return w, nil
}

// playHTTPLoad has it keep to its schedule.
func playHTTPLoad(w *Worker) (r httpload.Report, err error) {
	if err := w.Command(httpload.CommandRun); err != nil {
		return r, err
	}
	return w.httpReport()
}

func (w *Worker) httpReport() (r httpload.Report, err error) {
	line, err := w.line()
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("understand a load generator: %w", err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// output is what a program prints; without a name, this one.
func output(ctx context.Context, program string, args ...string) ([]byte, error) {
	if program == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this binary: %w", err)
		}
		program = self
	}
	return exec.CommandContext(ctx, program, args...).CombinedOutput() //nolint:gosec // this binary, or one that is measured
}
