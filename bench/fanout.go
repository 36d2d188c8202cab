package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"weir/bench/load"
)

// FanoutConfig configures [RunFanout]. Zero fields take the defaults.
type FanoutConfig struct {
	// Conns subscribe to one topic. Default 10000.
	Conns int
	// Rate is events a second that each leave in a sweep of their own. Default 10.
	Rate float64
	// Gather is events a second that gather. Default those of 2.6 million deliveries/s.
	Gather float64
	// Search looks for the highest rate that nothing is lost at.
	Search bool
	// Size is a payload's, bytes. Default 128.
	Size int
	// Duration is how long each rate is measured, Reps how often each server is. Defaults 10 s and 3.
	Duration time.Duration
	Reps     int
	// Workers hold the conns. Default one for each 15,000.
	Workers int
	// Servers are measured, in turns. Default all.
	Servers []string
	// With are variables of a weir that is measured besides, KEY=VALUE each.
	With []string
}

// Step is what was measured at one rate.
type Step struct {
	Rate        float64     `json:"rate"`
	Published   uint64      `json:"published"`
	Expected    uint64      `json:"expected"`
	Deliveries  uint64      `json:"deliveries"`
	PerSecond   float64     `json:"deliveries_per_second"`
	MicrosCPU   float64     `json:"server_cpu_us_per_delivery"`
	LoadMicros  float64     `json:"load_cpu_us_per_delivery"`
	ServerCores float64     `json:"server_cores"`
	P50         float64     `json:"p50_ms"`
	P90         float64     `json:"p90_ms"`
	P99         float64     `json:"p99_ms"`
	P999        float64     `json:"p999_ms"`
	Max         float64     `json:"max_ms"`
	LateMillis  float64     `json:"publisher_late_ms"`
	Faults      load.Faults `json:"faults"`
	Holds       bool        `json:"holds"`
}

// whole reports whether each event came once, in order, however late.
func (s *Step) whole() bool { return s.Deliveries == s.Expected && !s.Faults.Any() }

// FanoutTurn is one server's, started anew for it.
type FanoutTurn struct {
	Server          string  `json:"server"`
	Rep             int     `json:"rep"`
	ConnectsPerSec  float64 `json:"connects_per_second"`
	ServerBaseBytes uint64  `json:"server_rss_bytes_without_conns"`
	BytesPerConn    float64 `json:"server_rss_bytes_per_idle_subscribed_conn"`
	// Sweep is at Rate, Gather at that rate; the floor gathers nothing.
	Sweep  *Step `json:"sweep"`
	Gather *Step `json:"gather,omitempty"`
	// BusSweep and BusGather are weir's at the same rates with one subscriber: what an event costs it
	// before it comes to the many.
	BusSweep  *Step `json:"bus_sweep,omitempty"`
	BusGather *Step `json:"bus_gather,omitempty"`
	// Search are the steps of the search, if there was one.
	Search []Step `json:"search,omitempty"`
}

// FanoutResult is a run's.
type FanoutResult struct {
	Host    HostCard     `json:"host"`
	Floor   string       `json:"floor,omitempty"`
	Conns   int          `json:"conns"`
	Size    int          `json:"payload_bytes"`
	Rate    float64      `json:"rate"`
	Gather  float64      `json:"gather_rate"`
	Seconds float64      `json:"seconds"`
	Turns   []FanoutTurn `json:"turns"`
	Rows    []FanoutRow  `json:"rows"`
	// With are the variables of weir-with, WithRatios how it stands to weir.
	With       []string    `json:"with,omitempty"`
	WithRatios []WithRatio `json:"with_ratios,omitempty"`
	Bars       []Bar       `json:"bars"`
}

const (
	// connsPerWorker stays below the descriptor limit of most hosts.
	connsPerWorker = 15000
	// gatherDeliveries is above the bar by what the last deliveries take to come.
	gatherDeliveries = 2.6e6
	// maxRate bounds a search, events a second.
	maxRate = 50000
)

func (c FanoutConfig) withDefaults() FanoutConfig {
	if c.Conns == 0 {
		c.Conns = 10000
	}
	if c.Rate == 0 {
		c.Rate = 10
	}
	if c.Gather == 0 {
		c.Gather = min(gatherDeliveries/float64(max(c.Conns, 1)), maxRate)
	}
	if c.Size == 0 {
		c.Size = 128
	}
	if c.Duration == 0 {
		c.Duration = 10 * time.Second
	}
	if c.Reps == 0 {
		c.Reps = 3
	}
	if c.Workers == 0 {
		c.Workers = (c.Conns + connsPerWorker - 1) / connsPerWorker
	}
	if len(c.Servers) == 0 {
		c.Servers = Servers()
	}
	return c
}

// Validate says what is wrong, joined; nil if nothing is.
func (c FanoutConfig) Validate() error {
	c = c.withDefaults()
	var bad flagErrors
	bad.check("conns", c.Conns >= 1 && c.Conns <= 1_000_000, c.Conns, "1 to 1000000")
	bad.check("size", c.Size >= load.HeadBytes && c.Size <= 32<<10, c.Size, fmt.Sprintf("%d to 32768", load.HeadBytes))
	bad.check("rate", c.Rate >= 0.1 && c.Rate <= maxRate, c.Rate, fmt.Sprintf("0.1 to %d", maxRate))
	bad.check("gather", c.Gather >= 0.1 && c.Gather <= maxRate, c.Gather, fmt.Sprintf("0.1 to %d", maxRate))
	bad.check("duration", c.Duration >= time.Second && c.Duration <= time.Hour, c.Duration, "1s to 1h")
	bad.check("reps", c.Reps >= 1 && c.Reps <= 100, c.Reps, "1 to 100")
	bad.check("workers", c.Workers >= 1 && c.Workers <= 256, c.Workers, "1 to 256")
	for _, v := range c.With {
		key, _, fine := strings.Cut(v, "=")
		bad.check("with", fine && key != "", v, "KEY=VALUE, such as GOMAXPROCS=2")
	}
	bad.check("with", len(c.With) == 0 || slices.Contains(c.Servers, ServerWeir), strings.Join(c.With, ","), "none without weir among the servers")
	return errors.Join(append(bad, checkServers(c.Servers))...)
}

// measured are the servers, weir-with among them if it is.
func (c FanoutConfig) measured() []string {
	if len(c.With) == 0 {
		return c.Servers
	}
	return append(slices.Clone(c.Servers), ServerWeirWith)
}

// flagErrors gathers what is wrong with flags.
type flagErrors []error

func (e *flagErrors) check(flag string, fine bool, value any, want string) {
	if !fine {
		*e = append(*e, fmt.Errorf("--%s is %v: want %s", flag, value, want))
	}
}

// RunFanout measures the servers on loopback, in turns, each started anew.
func RunFanout(ctx context.Context, cfg FanoutConfig, progress io.Writer) (r *FanoutResult, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	r = &FanoutResult{
		Host: ReadHostCard(), Conns: cfg.Conns, Size: cfg.Size, Rate: cfg.Rate, Gather: cfg.Gather, Seconds: cfg.Duration.Seconds(), With: cfg.With,
	}
	r.Floor, err = inTurns(ctx, cfg.measured(), cfg.Reps, func(s *servers, name string, rep int) error {
		s.with = cfg.With
		t := FanoutTurn{Server: name, Rep: rep}
		err := fanoutTurn(ctx, cfg, s, &t, progress)
		r.Turns = append(r.Turns, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.Rows = fanoutRows(r.Turns)
	r.WithRatios = withRatios(r.Turns)
	r.Bars = fanoutBars(r.Turns)
	return r, nil
}

func fanoutTurn(ctx context.Context, cfg FanoutConfig, s *servers, t *FanoutTurn, progress io.Writer) error {
	srv, err := s.start(ctx, t.Server, maxConnsEnv(cfg.Conns))
	if err != nil {
		return err
	}
	defer srv.end()
	f := &fanout{cfg: cfg, topic: fanoutTopic, progress: progress, server: srv}
	defer f.stop()
	if err := f.open(ctx, t); err != nil {
		return err
	}
	if t.Sweep, err = f.at(ctx, cfg.Rate); err != nil {
		return err
	}
	low, high := cfg.Rate, 0.0
	if t.Server != ServerFloor {
		if t.Gather, err = f.at(ctx, cfg.Gather); err != nil {
			return err
		}
		if low, high = cfg.Gather, 0; !t.Gather.Holds {
			low, high = cfg.Rate, cfg.Gather
		}
	}
	if isWeir(t.Server) {
		if err := f.bus(ctx, t); err != nil {
			return err
		}
	}
	if cfg.Search && t.Sweep.Holds {
		t.Search, err = f.most(ctx, low, high)
	}
	return err
}

// at measures one rate.
func (f *fanout) at(ctx context.Context, rate float64) (*Step, error) {
	s, err := f.measure(ctx, rate, f.cfg.Duration)
	if err != nil {
		return nil, err
	}
	f.print(s)
	return &s, nil
}

// bus measures the same rates with one subscriber of another topic.
func (f *fanout) bus(ctx context.Context, t *FanoutTurn) (err error) {
	one := f.cfg
	one.Conns, one.Workers = 1, 1
	b := &fanout{cfg: one, topic: busTopic, progress: f.progress, server: f.server}
	defer b.stop()
	if err := b.open(ctx, &FanoutTurn{}); err != nil {
		return err
	}
	if t.BusSweep, err = b.at(ctx, f.cfg.Rate); err != nil {
		return err
	}
	t.BusGather, err = b.at(ctx, f.cfg.Gather)
	return err
}
