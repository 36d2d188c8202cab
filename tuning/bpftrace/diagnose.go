package bpftrace

import (
	"fmt"
	"regexp"
	"strings"
)

// complaint is something that bpftrace says on its error output, what it means and what to do.
type complaint struct {
	says string
	err  error
	mend string
}

// complaints are those of bpftrace 0.17 to 0.23; the first that fits holds.
func complaints() []complaint {
	const (
		kernel = "boot a kernel with tracepoints and BTF (CONFIG_FTRACE_SYSCALLS, CONFIG_DEBUG_INFO_BTF), 5.17 or newer for xdpdrop"
		locked = "boot without lockdown=confidentiality, or use weir's own tracers"
		debug  = "run it on a Go program"
		newer  = "install bpftrace 0.17 or newer"
	)
	return []complaint{
		{"running as the root user", ErrNotPermitted, ""},
		{"lockdown", ErrKernel, locked},
		{"tracepoint not found", ErrKernel, kernel},
		{"tracepoints not found", ErrKernel, kernel},
		{"does not contain a field named", ErrKernel, kernel},
		{"BTF data not available", ErrKernel, kernel},
		{"Could not resolve symbol", ErrSymbols, debug},
		{"Could not resolve address", ErrSymbols, debug},
		{"does not exist or is not executable", ErrSymbols, debug},
		{"attaching probe", ErrKernel, kernel},
		{"attach probe", ErrKernel, kernel},
		{"Error loading program", ErrKernel, kernel},
		{"load program", ErrKernel, kernel},
		{"syntax error", ErrScript, newer},
		{"Unknown function", ErrScript, newer},
		{"Unknown struct", ErrKernel, kernel},
	}
}

// diagnose says what bpftrace's error output means, in whose words it ends.
func diagnose(errorOutput string) error {
	said := summary(errorOutput)
	for _, c := range complaints() {
		if !strings.Contains(errorOutput, c.says) {
			continue
		}
		if c.mend == "" {
			return c.err
		}
		return fmt.Errorf("%w: %s (bpftrace: %s)", c.err, c.mend, said)
	}
	return fmt.Errorf("bpftrace: %s", said)
}

// noNews are what it says of functions that a locked-down kernel does not list, without an end of line; that it gets
// no more locked memory, which it does not need; and that it does not know of functions what we do.
var noNews = regexp.MustCompile(`^Error while reading traceable functions from .*?(ERROR:|$)` +
	`|^.*RLIMIT_MEMLOCK.*$|^.*[Cc]ould not determine instruction boundary.*$`)

// warnings are the lines of the error output that say something.
func warnings(errorOutput string) (all []string) {
	for line := range strings.Lines(errorOutput) {
		line = strings.TrimSpace(line)
		for noNews.MatchString(line) {
			line = noNews.ReplaceAllString(line, "$1")
		}
		if line != "" {
			all = append(all, line)
		}
	}
	return all
}

// summary is the first of them that says ERROR, or else the last.
func summary(errorOutput string) string {
	said := warnings(errorOutput)
	if len(said) == 0 {
		return "it says nothing"
	}
	for _, line := range said {
		if strings.Contains(line, "ERROR") || strings.Contains(line, "FATAL") {
			return line
		}
	}
	return said[len(said)-1]
}
