package floor

import (
	"context"
	_ "embed" // the C source
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed floor.c
var source []byte

// ErrNoCompiler is wrapped by [Compile] where there is no C compiler.
var ErrNoCompiler = errors.New("there is no C compiler: install gcc or clang")

// Compile makes the C program in dir, and returns its path and the command that it was made by.
func Compile(ctx context.Context, dir string) (program, command string, err error) {
	cc := ""
	for _, name := range []string{"cc", "gcc", "clang", "clang-14"} {
		if cc, err = exec.LookPath(name); err == nil {
			break
		}
	}
	if err != nil {
		return "", "", fmt.Errorf("compile the floor: %w", ErrNoCompiler)
	}
	src := filepath.Join(dir, "floor.c")
	if err := os.WriteFile(src, source, 0o600); err != nil {
		return "", "", fmt.Errorf("compile the floor: %w", err)
	}
	program = filepath.Join(dir, "floor")
	if out, err := exec.CommandContext(ctx, cc, "-O2", "-o", program, src).CombinedOutput(); err != nil { //nolint:gosec // a compiler, and our source
		return "", "", fmt.Errorf("compile the floor with %s: %w: %s", cc, err, out)
	}
	return program, filepath.Base(cc) + " -O2", nil
}
