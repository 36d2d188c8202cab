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
// goes on to do; else the error says how it ended. If ctx ends first that is the error, and the other process goes on.
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
	cmd := exec.Command(program, append(args, fmt.Sprintf("--ready-fd=%d", readyFD), orphanFlag)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = a.environ, a.stdout, a.stderr
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Run()
	_ = theirs.Close() // the other process has it
	if err != nil {
		return fmt.Errorf("start weir in the background: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = ready.Close() })
	defer stop()
	if n, _ := ready.Read(make([]byte, 1)); n == 1 {
		return nil
	}
	return errors.Join(errors.New("weir in the background does not serve: it said why"), ctx.Err())
}

// orphanFlag has a process start the one that is to serve, and end at once: that is then the child of the first process, as systemd
// wants a main process to be. Of any other it does not wait for the end.
const orphanFlag = "--orphan"

// startOrphan is that.
func startOrphan(a *app, fd int) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	ready := os.NewFile(uintptr(fd), "ready") //nolint:gosec // a descriptor
	cmd := exec.Command(program, slices.DeleteFunc(slices.Clone(a.args), func(s string) bool { return s == orphanFlag })...)
	cmd.Env, cmd.Stdout, cmd.Stderr = a.environ, a.stdout, a.stderr
	cmd.ExtraFiles = []*os.File{ready}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start weir in the background: %w", err)
	}
	return cmd.Process.Release()
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
