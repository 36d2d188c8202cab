package bench

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/bench/load"
	"weir/bpf/flood"
)

// FloodConfig configures [RunFlood]. Zero fields take the defaults, but for Rate.
type FloodConfig struct {
	// Kind is what the flood is made of, a name of [flood.Kinds]. Default syn.
	Kind string
	// Rate is packets a second, or conns; 0 is as fast as it goes.
	Rate int
	// Sources are the flood's addresses, of each version of IP. Default 8.
	Sources int
	// Spoofed gives each packet a random source instead.
	Spoofed bool
	// Conns subscribe. Default 500.
	Conns int
	// Quota is each client's, packets a second, and its burst. Default 1000.
	Quota int
	// Duration is how long each setting is measured. Default 10 s.
	Duration time.Duration
	// Only are the settings to measure, beside the baseline. Default all.
	Only []string
}

// calmRow is the setting without a flood, which the others are compared with.
const calmRow = "baseline"

// setting is a row: a way to run the edge.
type setting struct {
	name string
	// calm keeps the flood off.
	calm bool
	// mode is XDP's; without one there is no program.
	mode string
	// nftables limits clients there.
	nftables bool
	// env are variables of the weir.
	env []string
}

// settings are the rows, in order.
func settings() []setting {
	return []setting{
		{name: calmRow, calm: true},
		{name: "off"},
		{name: "shadow", mode: "shadow"},
		{name: "enforce", mode: "enforce"},
		{name: "no-cookies", mode: "enforce", env: []string{"WEIR_XDP_COOKIES=off"}},
		{name: "under-attack", mode: "under-attack"},
		{name: "nftables", nftables: true},
	}
}

// FloodSettings are the names that Only may have.
func FloodSettings() (names []string) {
	for _, s := range settings() {
		if !s.calm {
			names = append(names, s.name)
		}
	}
	return names
}

func (c FloodConfig) withDefaults() FloodConfig {
	for _, d := range []struct {
		field *int
		value int
	}{{&c.Sources, 8}, {&c.Conns, 500}, {&c.Quota, 1000}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Kind == "" {
		c.Kind = string(flood.KindSYN)
	}
	if c.Duration == 0 {
		c.Duration = 10 * time.Second
	}
	if len(c.Only) == 0 {
		c.Only = FloodSettings()
	}
	return c
}

// maxFloodRate bounds a flood's rate: no veth takes that much.
const maxFloodRate = 20_000_000

// Validate says what is wrong, joined; nil if nothing is.
func (c FloodConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("--%s is %v: want %s", field, value, want))
	}
	if _, err := flood.ParseKind(c.Kind); err != nil {
		var names []string
		for _, k := range flood.Kinds() {
			names = append(names, string(k))
		}
		bad("kind", c.Kind, "one of "+strings.Join(names, ", "))
	}
	if c.Rate < 0 || c.Rate > maxFloodRate {
		bad("rate", c.Rate, fmt.Sprintf("0 (as fast as it goes) to %d", maxFloodRate))
	}
	if c.Sources < 1 || c.Sources > LabMaxAddrs {
		bad("sources", c.Sources, fmt.Sprintf("1 to %d", LabMaxAddrs))
	}
	if c.Spoofed && c.Kind == string(flood.KindConnect) {
		bad("spoofed", c.Spoofed, "none with --kind connect: real conns need real addresses")
	}
	if c.Conns < 1 || c.Conns > 10_000 {
		bad("conns", c.Conns, "1 to 10000")
	}
	if c.Quota < 100 || c.Quota > 1_000_000 {
		bad("quota", c.Quota, "100 to 1000000")
	}
	if c.Duration < time.Second || c.Duration > 10*time.Minute {
		bad("duration", c.Duration, "1s to 10m")
	}
	for _, name := range c.Only {
		if !slices.Contains(FloodSettings(), name) {
			bad("only", name, "some of "+strings.Join(FloodSettings(), ", "))
		}
	}
	return errors.Join(errs...)
}

// FloodRow is what was measured with one setting.
type FloodRow struct {
	Setting string `json:"setting"`
	// Goodput is deliveries of those expected, Handshakes the probes answered of all: 1 is all.
	Goodput    float64 `json:"goodput"`
	Handshakes float64 `json:"handshakes"`
	Expected   uint64  `json:"expected"`
	Deliveries uint64  `json:"deliveries"`
	Probes     uint64  `json:"probes"`
	Shaken     uint64  `json:"probes_answered"`
	// Latencies of handshakes that were answered, and of deliveries from when an event was due.
	HandshakeP50 float64 `json:"handshake_p50_ms"`
	HandshakeP99 float64 `json:"handshake_p99_ms"`
	DeliveryP99  float64 `json:"delivery_p99_ms"`
	// FloodPerSecond were sent: frames, or conns opened. LostPerSecond of the frames did not
	// fit the edge's queue.
	FloodPerSecond float64 `json:"flood_per_second"`
	LostPerSecond  float64 `json:"queue_lost_per_second"`
	// Softirq is the share of all CPUs' time in soft interrupts: receiving, on both hosts.
	Softirq float64 `json:"softirq_share"`
	// ServerCores is the weir's CPU time a second.
	ServerCores float64           `json:"server_cores"`
	Seconds     float64           `json:"seconds"`
	Dropped     map[string]uint64 `json:"dropped"`
	WouldDrop   map[string]uint64 `json:"would_drop"`
	Faults      load.Faults       `json:"faults"`
	// Ratio is the row over the baseline's.
	Ratio FloodRatio `json:"ratio"`
}

// FloodRatio is a row over the baseline, field by field; 0 where the baseline is.
type FloodRatio struct {
	Goodput      float64 `json:"goodput"`
	Handshakes   float64 `json:"handshakes"`
	HandshakeP50 float64 `json:"handshake_p50"`
	HandshakeP99 float64 `json:"handshake_p99"`
	DeliveryP99  float64 `json:"delivery_p99"`
	Softirq      float64 `json:"softirq"`
}

// over is the row's ratio to a baseline.
func (r FloodRow) over(base FloodRow) FloodRatio {
	div := func(a, b float64) float64 {
		if b == 0 {
			return 0
		}
		return a / b
	}
	return FloodRatio{
		div(r.Goodput, base.Goodput), div(r.Handshakes, base.Handshakes),
		div(r.HandshakeP50, base.HandshakeP50), div(r.HandshakeP99, base.HandshakeP99),
		div(r.DeliveryP99, base.DeliveryP99), div(r.Softirq, base.Softirq),
	}
}

// FloodResult is a run's.
type FloodResult struct {
	Host     HostCard   `json:"host"`
	Kind     string     `json:"kind"`
	Rate     int        `json:"rate"`
	Sources  int        `json:"sources"`
	Spoofed  bool       `json:"spoofed"`
	Conns    int        `json:"conns"`
	Quota    int        `json:"quota_packets_per_second"`
	Duration float64    `json:"seconds"`
	Events   float64    `json:"events_per_second"`
	Probes   float64    `json:"probes_per_second"`
	Rows     []FloodRow `json:"rows"`
}
