package load

import "net/netip"

// Key is the Sec-WebSocket-Key of all handshakes.
const Key = "d2VpciBiZW5jaCBsb2FkLg=="

// Config is what a worker is told, the first line of its input.
type Config struct {
	// Edge is the address of the server, Target the path and query of the handshake.
	Edge   netip.AddrPort `json:"edge"`
	Target string         `json:"target"`
	// Conns are to be opened at first, from the Sources in turn; an empty list leaves it to the kernel.
	Conns   int          `json:"conns"`
	Sources []netip.Addr `json:"sources"`
	// ProbesPerSecond makes it a prober instead: conns are opened on a schedule, each with a
	// handshake, and closed.
	ProbesPerSecond float64 `json:"probes_per_second,omitempty"`
}

// Report is what a worker says, a line each: when its first conns are open, and after each command.
type Report struct {
	Connected int `json:"connected"`
	// OpenedFrom and OpenedTo are when the conns last asked for began to be opened, and all were:
	// nanoseconds of CLOCK_MONOTONIC.
	OpenedFrom int64  `json:"opened_from"`
	OpenedTo   int64  `json:"opened_to"`
	Deliveries uint64 `json:"deliveries"`
	Last       uint64 `json:"last"`    // the newest event's number
	Behind     int    `json:"behind"`  // conns that have not got it
	Latency    []byte `json:"latency"` // histogram, HdrHistogram V2 compressed
	Faults     Faults `json:"faults"`
	// Of a prober, whose Latency is that of handshakes: probes that ended, and those that got
	// an answer within ProbeTimeout.
	Probes uint64 `json:"probes,omitempty"`
	Shaken uint64 `json:"shaken,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Commands, a line each on the worker's input.
const (
	// CommandReset asks for a report, and then begins a new one.
	CommandReset = "reset"
	// CommandReport asks for a report.
	CommandReport = "report"
	// CommandOpen and a space and a number opens that many conns more, and reports when they are.
	CommandOpen = "open"
	// CommandClose and a space and a number ends that many conns, other ones each time until all had
	// their turn, half of them by a reset.
	CommandClose = "close"
	// CommandStop asks for the last one, after the probes on their way.
	CommandStop = "stop"
)
