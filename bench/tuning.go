package bench

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/bench/load"
	"weir/edge/loop"
	"weir/tuning/catalog"
)

// TuningConfig configures [RunTuning]. Zero fields take the defaults.
type TuningConfig struct {
	// Profile is what is on in every other turn. Default edge.
	Profile catalog.Profile
	// For is how many conns the profile is made for, which its formulas are over. Default 1,000,000.
	For int
	// Each measures the groups of settings, one at a time, in place of all of the profile; Only are those, and
	// settings of theirs that are measured alone. Default all groups.
	Each bool
	Only []string
	// Conns subscribe to one topic. Defaults 8000, and 4000 with Each.
	Conns int
	// Rate is events a second to all of them. Defaults 5, and 10 with Each: an edge and its load that share two CPUs
	// keep up with ease.
	Rate float64
	// Size is a payload's, bytes. Default 128.
	Size int
	// Duration is how long each turn publishes. Defaults 10 s, and 3 s with Each.
	Duration time.Duration
	// Reps is how many pairs of turns, without and with settings, there are; with Each of each group. Defaults 12,
	// and 5 with Each.
	Reps int
}

// Quick is the least that shows all of it.
func (c TuningConfig) Quick() TuningConfig {
	c.Conns, c.Duration, c.Reps = 500, time.Second, 1
	return c
}

func (c TuningConfig) withDefaults() TuningConfig {
	conns, rate, duration, reps := 8000, 5.0, 10*time.Second, 12
	if c.Each {
		conns, rate, duration, reps = 4000, 10, 3*time.Second, 5
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&c.For, 1_000_000}, {&c.Conns, conns}, {&c.Size, 128}, {&c.Reps, reps}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Profile == "" {
		c.Profile = catalog.Edge
	}
	if c.Rate == 0 {
		c.Rate = rate
	}
	if c.Duration == 0 {
		c.Duration = duration
	}
	if len(c.Only) == 0 && c.Each {
		c.Only = TuningGroups()
	}
	return c
}

// Validate says what is wrong, joined; nil if nothing is.
func (c TuningConfig) Validate() error {
	c = c.withDefaults()
	most := min(loop.DescriptorLimit()-spareDescriptors, 200_000)
	var bad flagErrors
	bad.check("profile", c.Profile == catalog.Edge || c.Profile == catalog.Gateway, c.Profile, "edge or gateway: the other one is for who makes the load")
	bad.check("for", c.For >= 1 && c.For <= 100_000_000, c.For, "1 to 100000000")
	bad.check("conns", c.Conns >= 10 && c.Conns <= most, c.Conns, fmt.Sprintf("10 to %d, by the limit of open files (ulimit -n)", most))
	bad.check("rate", c.Rate >= 1 && c.Rate <= 1000, c.Rate, "1 to 1000")
	bad.check("size", c.Size >= load.HeadBytes && c.Size <= 32<<10, c.Size, fmt.Sprintf("%d to 32768", load.HeadBytes))
	bad.check("duration", c.Duration >= time.Second && c.Duration <= 10*time.Minute, c.Duration, "1s to 10m")
	bad.check("reps", c.Reps >= 1 && c.Reps <= 100, c.Reps, "1 to 100")
	bad.check("only", c.Each || len(c.Only) == 0, strings.Join(c.Only, ","), "none without --each")
	for i, name := range c.Only {
		fine := len((TuningConfig{Each: true, Only: c.Only[i : i+1]}).groups()) == 1 && !slices.Contains(c.Only[:i], name)
		bad.check("only", fine, name, "some of "+strings.Join(TuningGroups(), ", ")+", or of their settings, each once")
	}
	return errors.Join(bad...)
}

// groups are what is measured, in order.
func (c TuningConfig) groups() (all []tuningGroup) {
	if !c.Each {
		return []tuningGroup{profileGroup(c.Profile)}
	}
	for _, g := range tuningGroups() {
		if slices.Contains(c.Only, g.name) {
			all = append(all, g)
		}
		for _, key := range g.settings {
			if slices.Contains(c.Only, key) {
				all = append(all, tuningGroup{name: key, about: g.about, settings: []string{key}})
			}
		}
	}
	return all
}

// wanted is what is applied of it.
func (c TuningConfig) wanted() catalog.Wanted {
	return catalog.Wanted{Profile: c.Profile, Conns: c.For, QueuedBytes: 1024, Interfaces: []string{LabEdgeEnd}}
}

// slot is a turn in the order of a run.
type slot struct {
	group tuningGroup
	pair  int // of the group
	on    bool
}

// tuningOrder has, in each repetition, a pair of turns for each group, without and with its settings; which comes first
// alternates from pair to pair, and from repetition to repetition: what changes slowly is then in both alike.
func tuningOrder(groups []tuningGroup, reps int) (all []slot) {
	for rep := range reps {
		for i, g := range groups {
			first := (rep+i)%2 == 1
			all = append(all, slot{g, rep, first}, slot{g, rep, !first})
		}
	}
	return all
}

// TuningTurn is one turn's: an edge and its network, made for it.
type TuningTurn struct {
	Group string `json:"group"`
	Pair  int    `json:"pair"`
	On    bool   `json:"on"`
	// Changed is what was turned, and put back afterwards.
	Changed []TuningChange `json:"changed,omitempty"`
	// Empty is without conns, after a few came and went; Held with all of them idle; Queued with a message to each
	// that no client has acknowledged. Kernel memory is of both ends.
	Empty  Memory `json:"empty"`
	Held   Memory `json:"held"`
	Queued Memory `json:"queued"`
	// Fanout is at the rate.
	Fanout Step `json:"fanout"`
	// SoftirqMicros is the time of all CPUs in soft interrupts for a delivery, HostMicros all that they were not idle:
	// both ends', the load's and the publisher's. Where the kernel does not measure interrupts apart
	// (CONFIG_IRQ_TIME_ACCOUNTING), a process's time has those that came while it ran: what moves from one to another
	// is in HostMicros all the same.
	SoftirqMicros float64 `json:"softirq_us_per_delivery"`
	HostMicros    float64 `json:"host_cpu_us_per_delivery"`
	// Gathered is the share of deliveries that left in one write with another, as the edge was late: their CPU is less.
	Gathered float64 `json:"gathered_share"`
}

// TuningResult is a run's.
type TuningResult struct {
	Host    HostCard        `json:"host"`
	Profile catalog.Profile `json:"profile"`
	For     int             `json:"profile_conns"`
	Each    bool            `json:"each"`
	Conns   int             `json:"conns"`
	Rate    float64         `json:"rate"`
	Size    int             `json:"payload_bytes"`
	Seconds float64         `json:"seconds"`
	Reps    int             `json:"reps"`
	Turns   []TuningTurn    `json:"turns"`
	// Gathered are the turns of which more than a twentieth of the deliveries were.
	Gathered int         `json:"turns_gathered"`
	Rows     []TuningRow `json:"rows"`
	Wall     *TuningWall `json:"wall,omitempty"`
	Settings TuningMarks `json:"settings"`
	Bars     []Bar       `json:"bars,omitempty"`
}
