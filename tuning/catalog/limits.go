package catalog

import (
	"fmt"

	"weir/tuning/knob"
)

// Descriptors are the file descriptors that a process with so many conns needs: a twentieth more, and 4,096 for
// files, upstreams and listeners.
func Descriptors(conns int) int64 { return int64(conns)*21/20 + 4096 }

// What weir keeps of a limit of descriptors for other uses than conns: an eighth, within bounds, and those that
// accepts hold for a moment.
const (
	leastKept, mostKept = 64, 2048
	accepting           = 64
)

// ConnsWithin is how many conns a process takes by itself with a limit of descriptors, unless it is told another number.
func ConnsWithin(limit int64) int64 {
	return max(limit-min(max(limit/8, leastKept), mostKept)-accepting, 0)
}

// most are bounds of the kernel's, or of what can be meant.
const (
	mostInt32   = 1<<31 - 1
	mostFiles   = 1<<63 - 1
	mostBacklog = 1 << 20
)

// limits are of descriptors, which every conn takes one of.
func limits() []Setting {
	return []Setting{
		{
			Key: "fs.nr_open", Scope: Global, Profiles: every(),
			Formula: "at least conns * 1.05 + 4096", Reason: "no process may have more descriptors, whatever its limit says",
			Source: "kernel: Documentation/admin-guide/sysctl/fs.rst", Risk: "8 bytes of memory a descriptor, for a process that opens so many",
			Check:   "cat /proc/sys/fs/nr_open",
			Targets: atLeast("fs.nr_open", mostInt32&^63, func(in Input) int64 { return Descriptors(in.Conns) }),
		},
		{
			Key: "fs.file-max", Scope: Global, Profiles: every(),
			Formula: "at least 1.2 * (conns * 1.05 + 4096)", Reason: "open files of the whole host; past it accept fails with ENFILE",
			Source: "kernel: Documentation/admin-guide/sysctl/fs.rst", Risk: "none: since Linux 5 it is seldom in the way",
			Check:   "cat /proc/sys/fs/file-nr",
			Targets: atLeast("fs.file-max", mostFiles, func(in Input) int64 { return Descriptors(in.Conns) * 6 / 5 }),
		},
		{
			Key: "nofile", Scope: Process, Profiles: every(),
			Formula: "at least conns * 1.05 + 4096", Reason: "the first wall: conns past it get 503",
			Source: "setrlimit(2)", Risk: "none; programs that use select(2) beside it",
			Check:   "prlimit --nofile --pid PID",
			Targets: nofile,
		},
		{
			Key: "fs.epoll.max_user_watches", Scope: Global, Profiles: every(),
			Formula: "at least 2 * conns", Reason: "epoll_ctl fails with ENOSPC past it: a conn is watched once, one that goes upstream twice",
			Source: "epoll(7)", Risk: "some 160 bytes of kernel memory a watch",
			Check:   "cat /proc/sys/fs/epoll/max_user_watches",
			Targets: atLeast("fs.epoll.max_user_watches", mostFiles, func(in Input) int64 { return 2 * int64(in.Conns) }),
		},
	}
}

// nofile compares with the limit of the process that asks: a service's is what its unit says.
func nofile(in Input) []Target {
	want := Descriptors(in.Conns)
	return one(Target{
		Knob: knob.Knob{Name: "max open files of this process", Path: "/proc/self/limits", Form: knob.Limit},
		Want: number(want),
		Accept: func(is string) bool {
			limit := knob.Limit.Show(is)
			n, ok := integer(limit)
			return limit == "unlimited" || ok && n >= want
		},
		Advice: fmt.Sprintf("LimitNOFILE=%d in the unit, or ulimit -n %d; a hard limit below it has to be raised by root", want, want),
	})
}
