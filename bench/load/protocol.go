package load

import "net/netip"

// Config is what a worker is told, the first line of its input.
type Config struct {
	// Edge is the address of the server, Target the path and query of the handshake.
	Edge   netip.AddrPort `json:"edge"`
	Target string         `json:"target"`
	// Conns are to be held, from the Sources in turn; an empty list leaves it to the kernel.
	Conns   int          `json:"conns"`
	Sources []netip.Addr `json:"sources"`
	// ProbesPerSecond makes it a prober instead: conns are opened on a schedule, each with a
	// handshake, and closed.
	ProbesPerSecond float64 `json:"probes_per_second,omitempty"`
}

// Report is what a worker says, a line each: when all conns are open, and after "stop".
type Report struct {
	Connected      int     `json:"connected"`
	ConnectSeconds float64 `json:"connect_seconds"`
	Deliveries     uint64  `json:"deliveries"`
	Last           uint64  `json:"last"`    // the newest event's number
	Behind         int     `json:"behind"`  // conns that have not got it
	Latency        []byte  `json:"latency"` // histogram, HdrHistogram V2 compressed
	Faults         Faults  `json:"faults"`
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
	// CommandStop asks for the last one, after the probes on their way.
	CommandStop = "stop"
)
