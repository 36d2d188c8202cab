package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"weir/bench/load"
	"weir/edge/loop"
)

// HoldConfig configures [RunHold]. Zero fields take the defaults.
type HoldConfig struct {
	// Conns are held. Default what the descriptor limit and half of the memory allow.
	Conns int
	// Workers hold them. Default one for each 15,000.
	Workers int
	// Settle is how long they are held before memory is looked at. Default 30 s: each was pinged.
	Settle time.Duration
	// Churn is how long conns then come and go, 0 for not at all; Percent of them go and come each
	// second. Default 2.
	Churn   time.Duration
	Percent float64
	// Servers are measured one after the other. Default all.
	Servers []string
}

// HoldTurn is one server's.
type HoldTurn struct {
	Server string `json:"server"`
	// Empty is without conns, after a few came and went; Held with all of them, Churned after they came and went.
	Empty   Memory  `json:"empty"`
	Held    Memory  `json:"held"`
	Churned *Memory `json:"churned,omitempty"`
	// Reopened are the conns that came and went.
	Reopened int `json:"reopened,omitempty"`
}

// HoldResult is a run's.
type HoldResult struct {
	Host         HostCard   `json:"host"`
	Floor        string     `json:"floor,omitempty"`
	Conns        int        `json:"conns"`
	Seconds      float64    `json:"seconds_held"`
	ChurnSeconds float64    `json:"churn_seconds"`
	ChurnPercent float64    `json:"churn_percent_per_second"`
	Turns        []HoldTurn `json:"turns"`
	Bars         []Bar      `json:"bars"`
}

const (
	// spareDescriptors are what a server is left for all that is no conn.
	spareDescriptors = 512
	// connBothEnds is the memory that a conn takes on this host at most: both ends in the kernel, the
	// server and its load.
	connBothEnds = 16 << 10
	maxHold      = 1_000_000
	firstConns   = 200
)

// mostConns is what this host can hold.
func mostConns() int {
	n := min(loop.DescriptorLimit()-spareDescriptors, maxHold)
	if available, err := kibField("/proc/meminfo", "MemAvailable"); err == nil {
		n = min(n, int(min(available/2/connBothEnds, math.MaxInt32))) //nolint:gosec // bounded by the min
	}
	return max(n, 1)
}

func (c HoldConfig) withDefaults() HoldConfig {
	if c.Conns == 0 {
		c.Conns = mostConns()
	}
	if c.Workers == 0 {
		c.Workers = (c.Conns + connsPerWorker - 1) / connsPerWorker
	}
	if c.Settle == 0 {
		c.Settle = 30 * time.Second
	}
	if c.Percent == 0 {
		c.Percent = 2
	}
	if len(c.Servers) == 0 {
		c.Servers = Servers()
	}
	return c
}

// Validate says what is wrong, joined; nil if nothing is.
func (c HoldConfig) Validate() error {
	c = c.withDefaults()
	most := min(loop.DescriptorLimit()-spareDescriptors, maxHold)
	var bad flagErrors
	bad.check("conns", c.Conns >= 1 && c.Conns <= most, c.Conns, fmt.Sprintf("1 to %d, by the limit of open files (ulimit -n)", most))
	bad.check("workers", c.Workers >= 1 && c.Workers <= 256, c.Workers, "1 to 256")
	bad.check("settle", c.Settle >= time.Second && c.Settle <= time.Hour, c.Settle, "1s to 1h")
	bad.check("churn", c.Churn >= 0 && c.Churn <= 24*time.Hour, c.Churn, "0 to 24h")
	bad.check("churn-percent", c.Percent >= 0.1 && c.Percent <= 50, c.Percent, "0.1 to 50")
	return errors.Join(append(bad, checkServers(c.Servers))...)
}

// RunHold measures what idle subscribed conns cost the servers in memory, on loopback.
func RunHold(ctx context.Context, cfg HoldConfig, progress io.Writer) (r *HoldResult, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	r = &HoldResult{Host: ReadHostCard(), Conns: cfg.Conns, Seconds: cfg.Settle.Seconds(), ChurnSeconds: cfg.Churn.Seconds(), ChurnPercent: cfg.Percent}
	r.Floor, err = inTurns(ctx, cfg.Servers, 1, func(s *servers, name string, _ int) error {
		h := &holdRun{cfg: cfg, progress: progress, turn: HoldTurn{Server: name}}
		err := h.run(ctx, s)
		r.Turns = append(r.Turns, h.turn)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.Bars = holdBars(r.Turns, cfg.Conns)
	return r, nil
}

// holdRun is one server's turn.
type holdRun struct {
	cfg      HoldConfig
	progress io.Writer
	server   *server
	workers  []*Worker
	turn     HoldTurn
}

func (h *holdRun) run(ctx context.Context, s *servers) (err error) {
	if h.server, err = s.start(ctx, h.turn.Server, maxConnsEnv(h.cfg.Conns)); err != nil {
		return err
	}
	defer h.server.end()
	// The first conns have the server load the code that serves them: that is not the others'.
	first := min(h.cfg.Conns, firstConns)
	h.workers, err = startWorkers(h.server, fanoutTopic, h.cfg.Conns, h.cfg.Workers, first)
	defer endWorkers(h.workers)
	if err != nil {
		return err
	}
	if _, _, err := opened(h.workers); err != nil {
		return err
	}
	if err := errors.Join(closeConns(h.workers, first), h.server.settle(ctx)); err != nil {
		return err
	}
	if h.turn.Empty, err = h.server.memory(ctx); err != nil {
		return err
	}
	if err := h.open(h.cfg.Conns); err != nil {
		return err
	}
	if h.turn.Held, err = h.settled(ctx); err != nil {
		return err
	}
	h.say("held", h.turn.Held)
	if h.cfg.Churn == 0 {
		return nil
	}
	if err := h.churn(ctx); err != nil {
		return err
	}
	after, err := h.settled(ctx)
	h.turn.Churned = &after
	h.say("after the churn", after)
	return err
}

func (h *holdRun) open(n int) error {
	if err := tell(h.workers, load.CommandOpen, n); err != nil {
		return err
	}
	_, _, err := opened(h.workers)
	return err
}

// reopen has n conns go, and as many come.
func (h *holdRun) reopen(n int) error {
	return errors.Join(closeConns(h.workers, n), h.open(n))
}

func (h *holdRun) say(when string, m Memory) {
	fmt.Fprintf(h.progress, "%-8s %d connections %s: %.0f B of memory each\n", h.turn.Server, h.cfg.Conns, when, m.perConn(h.turn.Empty, h.cfg.Conns).RSS)
}

// settled is the memory once the conns were held for a while, and that none was lost.
func (h *holdRun) settled(ctx context.Context) (m Memory, err error) {
	select {
	case <-ctx.Done():
		return m, ctx.Err()
	case <-time.After(h.cfg.Settle):
	}
	held := 0
	for _, w := range h.workers {
		r, err := w.ask(load.CommandReport)
		if err != nil {
			return m, err
		}
		held += r.Connected
	}
	if held != h.cfg.Conns {
		return m, fmt.Errorf("%d of %d connections are left", held, h.cfg.Conns)
	}
	return h.server.memory(ctx)
}

// churn has conns go and come each second.
func (h *holdRun) churn(ctx context.Context) error {
	each := max(int(float64(h.cfg.Conns)*h.cfg.Percent/100), 1)
	start, said := time.Now(), time.Now()
	pace := time.NewTicker(time.Second)
	defer pace.Stop()
	for time.Since(start) < h.cfg.Churn {
		if err := h.reopen(each); err != nil {
			return err
		}
		h.turn.Reopened += each
		if time.Since(said) >= time.Minute {
			said = time.Now()
			fmt.Fprintf(h.progress, "%-8s churn: %v, %d connections came and went\n", h.turn.Server, time.Since(start).Round(time.Second), h.turn.Reopened)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pace.C:
		}
	}
	return nil
}
