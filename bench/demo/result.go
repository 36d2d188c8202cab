package demo

import (
	"fmt"
	"sort"
	"strings"

	"weir/bench/load"
)

// Config configures [Run]. Zero fields take the defaults.
type Config struct {
	// Seconds is how long it runs. Default 60.
	Seconds int
	// Conns subscribe. Default 2000.
	Conns int
	// EventsPerSecond are published. Default 20.
	EventsPerSecond float64
	// FloodPerSecond are the flooder's packets. Default 100000.
	FloodPerSecond int
	// FloodSeconds is how long the flood is off, then on. Default 10.
	FloodSeconds int
	// JSON prints each second as a JSON line.
	JSON bool
}

// Second is what was seen in a second.
type Second struct {
	At         int               `json:"at"`
	Flood      bool              `json:"flood"`
	Conns      int               `json:"conns"`
	Deliveries uint64            `json:"deliveries"`
	P50        float64           `json:"p50_ms"`
	P99        float64           `json:"p99_ms"`
	Dropped    map[string]uint64 `json:"dropped"`
}

// Summary is what was seen in all.
type Summary struct {
	P99Without float64           `json:"p99_ms_without_flood"`
	P99With    float64           `json:"p99_ms_with_flood"`
	Deliveries uint64            `json:"deliveries"`
	Flooded    uint64            `json:"flood_packets"`
	Dropped    map[string]uint64 `json:"dropped"`
	Faults     load.Faults       `json:"faults"`
}

// Reasons are counts by reason in a line.
func Reasons(dropped map[string]uint64) string {
	if len(dropped) == 0 {
		return "0"
	}
	var all []string
	for reason, n := range dropped {
		all = append(all, fmt.Sprintf("%d %s", n, reason))
	}
	sort.Strings(all)
	return strings.Join(all, ", ")
}
