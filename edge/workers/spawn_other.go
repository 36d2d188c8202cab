//go:build !linux

package workers

import (
	"errors"
	"os/exec"
)

// spawner is not there: workers need Linux.
type spawner struct{}

func newSpawner() *spawner { return &spawner{} }

func (*spawner) close() {}

func (*spawner) start(*exec.Cmd, []int) (err, pinErr error) { return errors.ErrUnsupported, nil }

func ownCPUs() []int { return nil }

// Program is the path of this process's own program.
const Program = ""
