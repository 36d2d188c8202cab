package bpftrace

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// beginTimeout is how long bpftrace may take until its probes are attached: it compiles, 1 to 2 s.
	beginTimeout = 30 * time.Second
	// endTimeout is how long it may take to take its probes off, and to print what it has.
	endTimeout = 30 * time.Second
)

// job is a session made ready for a process.
type job struct {
	session Session
	// duration is how long it gathers, begin how long bpftrace may take before that and end how long after it.
	duration, begin, end time.Duration
	script               string
	// flags go before the script's name on bpftrace's command line, args behind it.
	flags, args []string
	// translate makes a line of output readable.
	translate func(line string) string
}

// prepare makes a session ready.
func prepare(s Session, p Params) (*job, error) {
	script, err := Script(s.Name)
	if err != nil {
		return nil, err
	}
	j := &job{
		session: s, duration: p.Duration, begin: beginTimeout, end: endTimeout, script: script,
		args:      []string{strconv.Itoa(p.PID), strconv.Itoa(p.Port)},
		translate: func(line string) string { return line },
	}
	if p.PID != 0 {
		j.flags = append(j.flags, "-p", strconv.Itoa(p.PID)) // it ends with the process
	}
	switch s.Name {
	case "gc":
		return j, j.probeRuntime(executable(p.PID))
	case "offcpu":
		if b, err := openBinary(executable(p.PID)); err == nil { // of what is no Go program addresses will do
			j.translate = b.name
		}
		j.args[1] = strconv.Itoa(ownPoller(fmt.Sprintf("/proc/%d/fd", p.PID)))
	case "xdpdrop":
		named := reasons()
		j.translate = func(line string) string { return nameReason(named, line) }
	}
	return j, nil
}

// executable is a process's binary, also if another one has its name now.
func executable(pid int) string { return fmt.Sprintf("/proc/%d/exe", pid) }

// ownPoller is the descriptor of the epoll that Go's runtime has made for itself: of those in a process's directory
// of descriptors the lowest, since it comes before any loop. 0 if there is none.
func ownPoller(directory string) (lowest int) {
	entries, _ := os.ReadDir(directory) // a process that is gone has none
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || lowest != 0 && fd > lowest {
			continue
		}
		if is, err := os.Readlink(filepath.Join(directory, e.Name())); err == nil && is == "anon_inode:[eventpoll]" {
			lowest = fd
		}
	}
	return lowest
}

// probeRuntime points the probes of session gc to a binary: by name, or where bpftrace finds no names, by where
// in the file the functions begin. It takes such a place on our word alone (--unsafe): Go's own table has it.
func (j *job) probeRuntime(path string) error {
	b, err := openBinary(path)
	if err != nil {
		return fmt.Errorf("%s: %w", j.session.Name, err)
	}
	j.args[1] = path
	for _, function := range []string{"runtime.stopTheWorldWithSema", "runtime.startTheWorldWithSema"} {
		if b.symbols[function] {
			continue
		}
		at, err := b.offset(function)
		if err != nil {
			return fmt.Errorf("%s: %w", j.session.Name, err)
		}
		j.script = strings.ReplaceAll(j.script, ":"+strconv.Quote(function), fmt.Sprintf(":%#x", at))
		if j.flags[len(j.flags)-1] != "--unsafe" {
			j.flags = append(j.flags, "--unsafe")
		}
	}
	return nil
}
