package bpftrace

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	// pid is the process that is looked at, 0 if it is none.
	pid int
	// duration is how long it gathers, begin how long bpftrace may take before that and end how long after it.
	duration, begin, end time.Duration
	script               string
	// flags go before the script's name on bpftrace's command line, args behind it, env in its environment.
	flags, args, env []string
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
		session: s, pid: p.PID, duration: p.Duration, begin: beginTimeout, end: endTimeout, script: script,
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
			// It would read all of the binary's symbols again for each stack: half a minute of a weir that is not stripped.
			j.env = append(j.env, "BPFTRACE_NO_USER_SYMBOLS=1")
			j.translate = b.name
			j.args[1] = strconv.Itoa(ownPoller(fmt.Sprintf("/proc/%d", p.PID), b))
		}
	case "xdpdrop":
		named := reasons()
		j.translate = func(line string) string { return nameReason(named, line) }
	}
	return j, nil
}

// executable is a process's binary, also if another one has its name now.
func executable(pid int) string { return fmt.Sprintf("/proc/%d/exe", pid) }

// polled is a descriptor in an epoll, as fdinfo has it (proc(5)), with the data that it was put there with.
var polled = regexp.MustCompile(`(?m)^tfd:.* data:\s*([0-9a-f]+)`)

// ownPoller is the descriptor of the epoll that Go's runtime has made for itself, 0 if there is none: the one in which it
// waits for wake-ups with the address of a variable of its own (netpollEventFd in runtime/netpoll_epoll.go).
func ownPoller(process string, b *binary) int {
	infos, _ := filepath.Glob(filepath.Join(process, "fdinfo", "*")) // the pattern is right
	for _, path := range infos {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it was closed meanwhile
		}
		for _, m := range polled.FindAllStringSubmatch(string(text), -1) {
			data, err := strconv.ParseUint(m[1], 16, 64)
			fd, notFD := strconv.Atoi(filepath.Base(path))
			if err == nil && notFD == nil && b.isVariable(data) {
				return fd
			}
		}
	}
	return 0
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
