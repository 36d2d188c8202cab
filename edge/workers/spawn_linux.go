package workers

import (
	"fmt"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// spawner starts processes from one thread, which they take their CPUs from, and whose end is theirs
// (prctl(2), PR_SET_PDEATHSIG): it lives as long as the group.
type spawner struct {
	jobs chan func()
	done chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{make(chan func()), make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread() // the thread ends with the goroutine
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

// close is called once all processes have ended.
func (s *spawner) close() {
	close(s.jobs)
	<-s.done
}

// start starts a process on some CPUs; the error of the second kind says that it runs on others.
func (s *spawner) start(cmd *exec.Cmd, cpus []int) (err, pinErr error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ended := make(chan struct{})
	s.jobs <- func() {
		defer close(ended)
		var before unix.CPUSet
		if pinErr = unix.SchedGetaffinity(0, &before); pinErr == nil && len(cpus) > 0 {
			var set unix.CPUSet
			for _, cpu := range cpus {
				set.Set(cpu)
			}
			pinErr = unix.SchedSetaffinity(0, &set)
			defer func() { _ = unix.SchedSetaffinity(0, &before) }()
		}
		err = cmd.Start()
	}
	<-ended
	if pinErr != nil {
		pinErr = fmt.Errorf("run on CPUs %v: %w", cpus, pinErr)
	}
	return err, pinErr
}

// ownCPUs are those that this process may run on, in ascending order.
func ownCPUs() (cpus []int) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

// Program is the path of this process's own program, also when a newer one was put in its place.
const Program = "/proc/self/exe"
