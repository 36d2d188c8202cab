package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"weir/bench/load"
)

// ConnectConfig configures [RunConnect]. Zero fields take the defaults.
type ConnectConfig struct {
	// Conns are opened as fast as it goes, then closed. Default 10000.
	Conns int
	// Workers open them. Default 1.
	Workers int
	// Reps is how often each server is measured, started anew. Default 5.
	Reps int
	// Servers are measured, in turns. Default all.
	Servers []string
}

// ConnectRound is one opening of all conns.
type ConnectRound struct {
	PerSecond    float64 `json:"connects_per_second"`
	ServerMicros float64 `json:"server_cpu_us_per_connect"`
	LoadMicros   float64 `json:"load_cpu_us_per_connect"`
	ServerCores  float64 `json:"server_cores"`
	LoadCores    float64 `json:"load_cores"`
}

// ConnectTurn is one server's: the first conns since its start, and as many again once those are
// closed.
type ConnectTurn struct {
	Server string       `json:"server"`
	Rep    int          `json:"rep"`
	Cold   ConnectRound `json:"cold"`
	Warm   ConnectRound `json:"warm"`
}

// ConnectRow is a server's medians.
type ConnectRow struct {
	Server string       `json:"server"`
	Cold   ConnectRound `json:"cold"`
	Warm   ConnectRound `json:"warm"`
}

// ConnectResult is a run's.
type ConnectResult struct {
	Host    HostCard      `json:"host"`
	Floor   string        `json:"floor,omitempty"`
	Conns   int           `json:"conns"`
	Workers int           `json:"workers"`
	Turns   []ConnectTurn `json:"turns"`
	Rows    []ConnectRow  `json:"rows"`
	Bars    []Bar         `json:"bars"`
}

func (c ConnectConfig) withDefaults() ConnectConfig {
	if c.Conns == 0 {
		c.Conns = 10000
	}
	if c.Workers == 0 {
		c.Workers = 1
	}
	if c.Reps == 0 {
		c.Reps = 5
	}
	if len(c.Servers) == 0 {
		c.Servers = Servers()
	}
	return c
}

// Validate says what is wrong, joined; nil if nothing is.
func (c ConnectConfig) Validate() error {
	c = c.withDefaults()
	var bad flagErrors
	bad.check("conns", c.Conns >= 1 && c.Conns <= 1_000_000, c.Conns, "1 to 1000000")
	bad.check("workers", c.Workers >= 1 && c.Workers <= min(256, max(c.Conns, 1)), c.Workers, "1 to 256, and no more than connections")
	bad.check("reps", c.Reps >= 1 && c.Reps <= 100, c.Reps, "1 to 100")
	return errors.Join(append(bad, checkServers(c.Servers))...)
}

// RunConnect measures how fast the servers take in conns and shake hands, on loopback, in turns.
func RunConnect(ctx context.Context, cfg ConnectConfig, progress io.Writer) (r *ConnectResult, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	r = &ConnectResult{Host: ReadHostCard(), Conns: cfg.Conns, Workers: cfg.Workers}
	r.Floor, err = inTurns(ctx, cfg.Servers, cfg.Reps, func(s *servers, name string, rep int) error {
		t, err := connectTurn(ctx, cfg, s, name, progress)
		t.Rep = rep
		r.Turns = append(r.Turns, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.Rows = connectRows(r.Turns)
	r.Bars = connectBars(r.Rows)
	return r, nil
}

func connectTurn(ctx context.Context, cfg ConnectConfig, s *servers, name string, progress io.Writer) (t ConnectTurn, err error) {
	t.Server = name
	srv, err := s.start(ctx, name, maxConnsEnv(cfg.Conns))
	if err != nil {
		return t, err
	}
	defer srv.end()
	workers, err := startWorkers(srv, fanoutTopic, cfg.Conns, cfg.Workers, 0)
	defer endWorkers(workers)
	if err != nil {
		return t, err
	}
	if _, _, err := opened(workers); err != nil {
		return t, err
	}
	for _, to := range []*ConnectRound{&t.Cold, &t.Warm} {
		if err := srv.settle(ctx); err != nil {
			return t, err
		}
		if *to, err = connectRound(srv, workers, cfg.Conns); err != nil {
			return t, err
		}
		fmt.Fprintf(progress, "%-8s %7.0f connects/s  %5.1f us CPU of the server each  %5.1f us of the load\n", name, to.PerSecond, to.ServerMicros, to.LoadMicros)
		if err := closeConns(workers, cfg.Conns); err != nil {
			return t, err
		}
	}
	return t, nil
}

func closeConns(workers []*Worker, n int) error {
	if err := tell(workers, load.CommandClose, n); err != nil {
		return err
	}
	_, _, err := opened(workers)
	return err
}

func connectRound(srv *server, workers []*Worker, conns int) (r ConnectRound, err error) {
	before, err := readCPU(srv, workers)
	if err != nil {
		return r, err
	}
	if err := tell(workers, load.CommandOpen, conns); err != nil {
		return r, err
	}
	from, to, err := opened(workers)
	if err != nil {
		return r, err
	}
	after, err := readCPU(srv, workers)
	if err != nil {
		return r, err
	}
	used, took := after.less(before), (to - from).Seconds()
	return ConnectRound{
		PerSecond:    float64(conns) / took,
		ServerMicros: used.server * 1e6 / float64(conns), LoadMicros: used.load * 1e6 / float64(conns),
		ServerCores: used.server / took, LoadCores: used.load / took,
	}, nil
}

// settle waits until the server does nothing any more: it has then seen the conns end.
func (srv *server) settle(ctx context.Context) error {
	const (
		pause = 50 * time.Millisecond
		tries = 100
	)
	last := -1.0
	for range tries {
		now, err := cpuSeconds(srv.Pid())
		if err != nil || now == last {
			return err
		}
		last = now
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil // one that is never idle is measured as it is
}

func connectRows(turns []ConnectTurn) (rows []ConnectRow) {
	for _, name := range Servers() {
		var cold, warm []ConnectRound
		for _, t := range turns {
			if t.Server == name {
				cold, warm = append(cold, t.Cold), append(warm, t.Warm)
			}
		}
		if len(cold) > 0 {
			rows = append(rows, ConnectRow{Server: name, Cold: medianRound(cold), Warm: medianRound(warm)})
		}
	}
	return rows
}

// medianRound has the median of each figure.
func medianRound(of []ConnectRound) ConnectRound {
	column := func(f func(r ConnectRound) float64) float64 {
		var values []float64
		for _, r := range of {
			values = append(values, f(r))
		}
		return median(values)
	}
	return ConnectRound{
		PerSecond:    column(func(r ConnectRound) float64 { return r.PerSecond }),
		ServerMicros: column(func(r ConnectRound) float64 { return r.ServerMicros }),
		LoadMicros:   column(func(r ConnectRound) float64 { return r.LoadMicros }),
		ServerCores:  column(func(r ConnectRound) float64 { return r.ServerCores }),
		LoadCores:    column(func(r ConnectRound) float64 { return r.LoadCores }),
	}
}

// connectBar is connects a second.
const connectBar = 36_000

// connectBars hold weir's medians against the bar. Where not even the floor reaches it, the load
// generator is the limit, and the bar says nothing about weir.
func connectBars(rows []ConnectRow) (bars []Bar) {
	by := map[string]ConnectRow{}
	for _, r := range rows {
		by[r.Server] = r
	}
	for _, round := range []struct {
		name string
		of   func(r ConnectRow) ConnectRound
	}{
		{"just started", func(r ConnectRow) ConnectRound { return r.Cold }},
		{"again", func(r ConnectRow) ConnectRound { return r.Warm }},
	} {
		b := Bar{Name: "accept and upgrade, connects/s, " + round.name + ": weir", Bar: connectBar, AtLeast: true}
		weir, ok := by[ServerWeir]
		if !ok {
			b.Skipped = "weir was not measured"
			bars = append(bars, b)
			continue
		}
		b = b.judge(round.of(weir).PerSecond)
		b.Note = fmt.Sprintf("%.1f us CPU of the server each, %.1f us of the load", round.of(weir).ServerMicros, round.of(weir).LoadMicros)
		if f, ok := by[ServerFloor]; ok && round.of(f).PerSecond < connectBar {
			b.Note += fmt.Sprintf("; the load generator is the limit: the floor has %.0f", round.of(f).PerSecond)
		}
		bars = append(bars, b)
	}
	return bars
}

// Print writes the table and the bars, to be read.
func (r *ConnectResult) Print(out io.Writer) error {
	if r.Floor != "" {
		fmt.Fprintf(out, "The floor is %s; it computes no Sec-WebSocket-Accept.\n", r.Floor)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tconnects/s\tserver us\tload us\tserver cores\tload cores")
	for _, row := range r.Rows {
		for _, round := range []struct {
			name string
			of   ConnectRound
		}{{"just started", row.Cold}, {"again", row.Warm}} {
			cells := []string{
				row.Server + ", " + round.name, count(round.of.PerSecond), fmt.Sprintf("%.1f", round.of.ServerMicros), fmt.Sprintf("%.1f", round.of.LoadMicros),
				fmt.Sprintf("%.2f", round.of.ServerCores), fmt.Sprintf("%.2f", round.of.LoadCores),
			}
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	printBars(out, r.Bars)
	return nil
}
