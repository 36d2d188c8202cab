package latency

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
)

// Names of tracers.
const (
	Accept  = "accept"
	Read    = "read"
	Write   = "write"
	RTT     = "rtt"
	Runq    = "runq"
	Softirq = "softirq"
	Stall   = "stall"
	GC      = "gc"
	XDP     = "xdp"
)

// About is a tracer, in words.
type About struct {
	Name string
	// Question is what it answers.
	Question string
	// Histograms and Counters are the names of what its snapshots have, in order.
	Histograms, Counters []string
	// PIDs, Ports and Stalls say which fields of [Config] it takes.
	PIDs, Ports, Stalls bool
	// Samples says that it can follow one in many of its events, where [Config.Budget] asks for that.
	Samples bool
	// Go says that it is of Go programs alone, which [Config.PIDs] has to name.
	Go bool
	// Since is the release of Linux that has all of its hooks.
	Since string

	spec func() (*ebpf.CollectionSpec, error)
}

// Tracers are all, in the order of a request's way.
func Tracers() []About {
	return []About{
		{
			Name: Accept, Question: "how long do connections take to be established, and wait for accept(2) then?",
			Histograms: []string{"queued", "handshake"}, PIDs: true, Ports: true, Samples: true, Since: "5.15", spec: loadAccept,
		},
		{
			Name: Read, Question: "how long does what a socket has received wait to be read?",
			Histograms: []string{"unread"}, PIDs: true, Ports: true, Samples: true, Since: "6.3", spec: loadRead,
		},
		{
			Name: Write, Question: "how long is what is written on its way?",
			Histograms: []string{"to_device_queue", "to_driver", "to_ack"}, PIDs: true, Ports: true, Samples: true, Since: "6.15", spec: loadWrite,
		},
		{Name: RTT, Question: "how far away are the peers, and which are behind?", Ports: true, Since: "5.15", spec: loadRtt},
		{
			Name: Runq, Question: "how long do threads that could run wait for a CPU?",
			Histograms: []string{"runnable"}, PIDs: true, Samples: true, Since: "5.18", spec: loadRunq,
		},
		{
			Name: Softirq, Question: "how long do received packets wait for the kernel, and how long does it work on them?",
			Histograms: []string{"raised", "running"}, Counters: []string{"polls", "full_polls"}, Samples: true, Since: "5.15", spec: loadSoftirq,
		},
		{
			Name: Stall, Question: "how long do event loops not ask for events, and what do they do meanwhile?",
			Histograms: []string{"busy"}, Counters: stallCounters(), PIDs: true, Stalls: true, Samples: true, Since: "5.15", spec: loadStall,
		},
		{
			Name: GC, Question: "how long does Go's runtime stop the world, and how long does it mark?",
			Histograms: []string{"stopped", "marking"}, PIDs: true, Go: true, Since: "5.15", spec: loadGc,
		},
		{Name: XDP, Question: "what does a packet cost in XDP?", Since: "5.8"},
	}
}

// causePrefix is before the name of a [Cause] in that of a counter.
const causePrefix = "by_"

// stallCounters are in the order of stall.c.
func stallCounters() []string {
	all := []string{"stalls", "untold"}
	for _, c := range Causes() {
		all = append(all, causePrefix+c.String())
	}
	return all
}

// names are those of all, in a text.
func names() string {
	var all []string
	for _, a := range Tracers() {
		all = append(all, a.Name)
	}
	return strings.Join(all, ", ")
}

// find is the tracer of a name.
func find(name string) (About, error) {
	for _, a := range Tracers() {
		if a.Name == name {
			return a, nil
		}
	}
	return About{}, fmt.Errorf("trace %s: %w: there are %s", name, ErrUnknown, names())
}
