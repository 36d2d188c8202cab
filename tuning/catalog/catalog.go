package catalog

import (
	"fmt"
	"slices"
	"strings"

	"weir/tuning/host"
	"weir/tuning/knob"
)

// Scope is what a setting holds for.
type Scope string

// The scopes.
const (
	// Global: the whole host.
	Global Scope = "G"
	// PerNamespace: one network namespace, which may write it.
	PerNamespace Scope = "N"
	// HostNamespace: seen in any network namespace, written in the initial one alone.
	HostNamespace Scope = "n"
	// Device: a network device.
	Device Scope = "D"
	// Socket: one socket; its program sets it.
	Socket Scope = "S"
	// Process: one process, and those that it starts.
	Process Scope = "P"
	// Boot: the kernel's command line.
	Boot Scope = "B"
)

// String is the scope in words.
func (s Scope) String() string {
	return map[Scope]string{
		Global: "host", PerNamespace: "network namespace", HostNamespace: "host, seen in every network namespace",
		Device: "device", Socket: "socket", Process: "process", Boot: "boot",
	}[s]
}

// Profile is what a host is for.
type Profile string

// The profiles.
const (
	// Edge: many conns, most of them idle, and bursts to all of them.
	Edge Profile = "edge"
	// Gateway: requests, each of which goes on to an upstream.
	Gateway Profile = "gateway"
	// Bench: the load generator's side.
	Bench Profile = "bench"
)

// Profiles are all, in order.
func Profiles() []Profile { return []Profile{Edge, Gateway, Bench} }

// Wanted is what the operator wants of the host.
type Wanted struct {
	Profile Profile
	// Conns are the connections at once, 1 to 100,000,000.
	Conns int
	// QueuedBytes are those that one conn may have in the kernel in the worst burst, 0 to 16 MiB.
	QueuedBytes int
	// Interfaces are those whose devices are set; none stands for all that have a device and are up.
	Interfaces []string
	// BusyPoll says that the programs there poll by an epoll that prefers busy polling (EPIOCSPARAMS).
	BusyPoll bool
}

// Validate says what is out of range.
func (w Wanted) Validate() error {
	switch {
	case !slices.Contains(Profiles(), w.Profile):
		return fmt.Errorf("profile %q: want one of edge, gateway, bench", w.Profile)
	case w.Conns < 1 || w.Conns > 100_000_000:
		return fmt.Errorf("conns %d: want 1 to 100,000,000", w.Conns)
	case w.QueuedBytes < 0 || w.QueuedBytes > 16<<20:
		return fmt.Errorf("bytes queued for a conn %d: want 0 to 16 MiB (16,777,216)", w.QueuedBytes)
	}
	return nil
}

// Input is what formulas are over.
type Input struct {
	Host *host.Host
	Wanted
}

// NICs are the interfaces whose devices are set.
func (in Input) NICs() (all []host.NIC) {
	for _, n := range in.Host.NICs {
		if slices.Contains(in.Interfaces, n.Name) || len(in.Interfaces) == 0 && n.Driver != "" && n.Up {
			all = append(all, n)
		}
	}
	return all
}

// Target is what one knob should be.
type Target struct {
	Knob knob.Knob
	// Want is the value to be written.
	Want string
	// Accept reports that a value is as good as Want, so that it stays; nil: only one that means the same.
	Accept func(is string) bool
	// Advice is the command that sets it, for what is not weir's to set. Refuse is why it is not set here.
	Advice string
	Refuse string
	// Since is the release of Linux that it came with, "" if it does not matter.
	Since string
}

// Setting is one entry of the catalog.
type Setting struct {
	// Key names it for good: a sysctl's name, or the file's or the device's.
	Key   string
	Scope Scope
	// Profiles are those that have it.
	Profiles []Profile
	// Formula says in words what it should be; Reason why, Source from where, Risk what may be worse with it, and
	// Check by what to see that it holds and helps.
	Formula, Reason, Source, Risk, Check string
	// Measured is what `weir bench` has shown of it, with where, "" if nothing was measured.
	Measured string
	// Targets are its knobs on a host; none if the host has nothing that it is for.
	Targets func(in Input) []Target
}

// Of reports whether a profile has the setting.
func (s Setting) Of(p Profile) bool { return slices.Contains(s.Profiles, p) }

// All is the catalog, in the order in which settings are applied.
func All() []Setting {
	all := slices.Concat(limits(), buffers(), handshakes(), endings(), paths(), softirq(), instances(), queues(), devices(), suspension(), machine(), advice(), runtimes())
	says := measured()
	for i := range all {
		all[i].Measured = says[all[i].Key]
	}
	return all
}

// every are the profiles of a setting that all have.
func every() []Profile { return Profiles() }

// servers are those of the two that take conns in.
func servers() []Profile { return []Profile{Edge, Gateway} }

// one is the target of a setting with a single knob.
func one(t Target) []Target { return []Target{t} }

// number is a value as text.
func number(n int64) string { return fmt.Sprint(n) }

// integer is the single number that a value is.
func integer(is string) (int64, bool) {
	all, err := knob.Integers(is)
	if err != nil || len(all) != 1 {
		return 0, false
	}
	return all[0], true
}

// within accepts single numbers from low to high.
func within(low, high int64) func(string) bool {
	return func(is string) bool {
		n, ok := integer(is)
		return ok && n >= low && n <= high
	}
}

// anyOf accepts a choice's words.
func anyOf(form knob.Form, words ...string) func(string) bool {
	return func(is string) bool { return slices.Contains(words, form.Show(is)) }
}

// exact is the setting of a sysctl that should have one value, or another from low to high.
func exact(key string, want, low, high int64) func(Input) []Target {
	return func(Input) []Target {
		return one(Target{Knob: knob.Sysctl(key, knob.Number), Want: number(want), Accept: within(low, high)})
	}
}

// atLeast is the setting of a sysctl that should not be below what the formula gives. More is as good, up to most.
func atLeast(key string, most int64, formula func(Input) int64) func(Input) []Target {
	return func(in Input) []Target {
		want := min(formula(in), most)
		return one(Target{Knob: knob.Sysctl(key, knob.Number), Want: number(want), Accept: within(want, most)})
	}
}

// fixed is a formula that is a number.
func fixed(n int64) func(Input) int64 { return func(Input) int64 { return n } }

// powerOfTwo is the least that is not below n.
func powerOfTwo(n int64) int64 {
	p := int64(1)
	for p < n {
		p <<= 1
	}
	return p
}

// words joins numbers as the kernel has them in one sysctl.
func words(all ...int64) string { return strings.Trim(fmt.Sprint(all), "[]") }
