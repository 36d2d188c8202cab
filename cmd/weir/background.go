package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
)

// readyFD is the descriptor at which a process in the background says that it serves: the first of exec.Cmd's ExtraFiles.
const readyFD = 3

// backgroundFlag asks for one.
const backgroundFlag = "--background"

// runInBackground runs this program with the same arguments and without backgroundFlag, and returns nil when it serves, which it
// goes on to do; else the error says how it ended. If ctx ends first, so does it.
func runInBackground(ctx context.Context, a *app) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close() //nolint:errcheck // it is only read
	args := slices.DeleteFunc(slices.Clone(a.args), func(s string) bool { return s == backgroundFlag })
	cmd := exec.Command(program, append(args, fmt.Sprintf("--ready-fd=%d", readyFD))...)
	cmd.Env, cmd.Stdout, cmd.Stderr = a.environ, a.stdout, a.stderr
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	_ = theirs.Close() // the other process has it
	if err != nil {
		return fmt.Errorf("start weir in the background: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if n, _ := ready.Read(make([]byte, 1)); n == 1 {
		return cmd.Process.Release()
	}
	return errors.Join(fmt.Errorf("weir in the background does not serve: it said why"), cmd.Wait(), ctx.Err())
}

// sayReady tells whoever started this process in the background that it serves.
func sayReady(fd int) error {
	if fd == 0 {
		return nil
	}
	f := os.NewFile(uintptr(fd), "ready") //nolint:gosec // a descriptor
	_, err := f.Write([]byte{1})
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("say that this weir serves: %w", err)
	}
	return nil
}
