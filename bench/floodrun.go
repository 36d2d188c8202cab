package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"weir/bench/load"
	"weir/bpf/flood"
)

// What a run of [RunFlood] does beside the flood.
const (
	floodPrefix   = "weir-flood-"
	floodTopic    = "bench.flood"
	probeTopic    = "bench.probe"
	floodEvents   = 20.0 // a second
	floodProbes   = 50.0 // a second
	probeSources  = 50
	connsPerAddr  = 40 // their acknowledgments stay well within a client's quota
	floodSettle   = time.Second
	floodOverhead = 2 * time.Minute // what a setting may take beside its duration
)

// RunFlood measures what a flood does to an edge: with no program, with quotas in XDP and with
// nftables, each in namespaces made for it, and first without a flood.
func RunFlood(ctx context.Context, cfg FloodConfig, progress io.Writer) (*FloodResult, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	r := &FloodResult{
		Host: ReadHostCard(), Kind: cfg.Kind, Rate: cfg.Rate, Sources: cfg.Sources, Spoofed: cfg.Spoofed, Conns: cfg.Conns, Quota: cfg.Quota,
		Duration: cfg.Duration.Seconds(), Events: floodEvents, Probes: floodProbes,
	}
	for _, s := range settings() {
		if !s.calm && !slices.Contains(cfg.Only, s.name) {
			continue
		}
		fmt.Fprintf(progress, "%s: %d subscribers, %s\n", s.name, cfg.Conns, cfg.describe(s))
		row, err := runSetting(ctx, cfg, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		r.Rows = append(r.Rows, row)
		last := &r.Rows[len(r.Rows)-1]
		last.Ratio = last.over(r.Rows[0])
		fmt.Fprintf(progress, "%s: goodput %s, handshakes %s, flood %s/s\n", s.name, percent(row.Goodput), percent(row.Handshakes), count(row.FloodPerSecond))
	}
	return r, nil
}

// describe is a setting's flood in words.
func (c FloodConfig) describe(s setting) string {
	if s.calm {
		return "no flood"
	}
	rate, from := "as fast as it goes", fmt.Sprintf("%d addresses", c.Sources)
	if c.Rate > 0 {
		rate = fmt.Sprintf("%d/s", c.Rate)
	}
	if c.Spoofed {
		from = "random addresses"
	}
	return fmt.Sprintf("flood of %s, %s from %s", c.Kind, rate, from)
}

// floodRun is one setting's.
type floodRun struct {
	cfg         FloodConfig
	setting     setting
	lab         *Lab
	subscribers *Worker
	prober      *Worker
	pub         *Publisher
	flood       *flood.Flood
	row         FloodRow
}

func runSetting(ctx context.Context, cfg FloodConfig, s setting) (row FloodRow, err error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Duration+floodOverhead)
	defer cancel()
	r := &floodRun{cfg: cfg, setting: s, row: FloodRow{Setting: s.name}}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.build(ctx); err != nil {
		return r.row, err
	}
	// A worker that does not answer must not outlast the interrupt.
	release := context.AfterFunc(ctx, r.endWorkers)
	defer release()
	if err := r.play(ctx); err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return r.row, fmt.Errorf("interrupted: %w", ctx.Err())
		}
		return r.row, err
	}
	return r.row, nil
}

// build makes the hosts, the edge, its clients and the flood.
func (r *floodRun) build(ctx context.Context) (err error) {
	subscribers := LabAddrs(LabSubscribers, min((r.cfg.Conns+connsPerAddr-1)/connsPerAddr, LabMaxAddrs))
	probers := LabAddrs(LabProbers, probeSources)
	flooders := append(LabAddrs(LabFlooders, r.cfg.Sources), LabAddrs6(LabFlooders, r.cfg.Sources)...)
	mine := append(append([]netip.Addr{}, subscribers...), probers...)
	if r.cfg.Kind == string(flood.KindConnect) {
		mine = append(mine, flooders...) // else nobody answers for them, as for a flooder that hides
	}
	if r.lab, err = NewLab(floodPrefix, mine...); err != nil {
		return err
	}
	args, env := []string{"--xdp", "off"}, []string(nil)
	if r.setting.mode != "" {
		args, env = LabServeXDP(r.setting.mode, r.cfg.Quota)
		env = append(env, r.setting.env...)
	}
	if err := r.lab.Serve(ctx, args, env...); err != nil {
		return err
	}
	if r.setting.nftables {
		if err := r.lab.limitByNFTables(ctx, r.cfg.Quota); err != nil {
			return err
		}
	}
	if r.subscribers, err = r.worker(ctx, load.Config{Edge: LabEdge(), Target: "/ws/" + floodTopic, Conns: r.cfg.Conns, Sources: subscribers}); err != nil {
		return err
	}
	if r.prober, err = r.worker(ctx, load.Config{Edge: LabEdge(), Target: "/ws/" + probeTopic, Sources: probers, ProbesPerSecond: floodProbes}); err != nil {
		return err
	}
	if r.pub, err = NewPublisher(ctx, r.lab.Edge.DialContext, LabAdmin, floodTopic, 128); err != nil {
		return err
	}
	if r.cfg.Spoofed {
		r.flood, err = r.lab.Flood(flood.Kind(r.cfg.Kind), nil, LabSpoofed())
	} else {
		r.flood, err = r.lab.Flood(flood.Kind(r.cfg.Kind), flooders, nil)
	}
	return err
}

// worker starts one and waits until it is ready.
func (r *floodRun) worker(ctx context.Context, cfg load.Config) (*Worker, error) {
	w, err := StartWorker(r.lab.InLoad, cfg)
	if err != nil {
		return w, err
	}
	release := context.AfterFunc(ctx, w.End) // an edge may let it wait for long
	defer release()
	_, err = w.Report()
	return w, err
}

// play floods, publishes, and measures.
func (r *floodRun) play(ctx context.Context) (err error) {
	flooding, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		if r.setting.calm {
			done <- nil
			return
		}
		_, err := r.flood.Run(flooding, r.cfg.Rate)
		done <- err
	}()
	defer func() {
		stop()
		err = errors.Join(err, <-done)
	}()
	if _, _, err := r.pub.Run(ctx, floodEvents, floodSettle); err != nil {
		return err
	}
	for _, w := range []*Worker{r.subscribers, r.prober} {
		if _, err := w.ask(load.CommandReset); err != nil {
			return err
		}
	}
	before, err := r.read(ctx)
	if err != nil {
		return err
	}
	published, _, err := r.pub.Run(ctx, floodEvents, r.cfg.Duration)
	if err != nil {
		return err
	}
	r.row.Expected = published * uint64(r.cfg.Conns) //nolint:gosec // bounded by Validate
	if err := r.gather(ctx); err != nil {
		return err
	}
	after, err := r.read(ctx)
	if err != nil {
		return err
	}
	r.row.settle(before, after)
	return nil
}

// gather waits for what is still to come, under the flood, and takes the reports.
func (r *floodRun) gather(ctx context.Context) error {
	probes, err := r.prober.ask(load.CommandStop)
	if err != nil {
		return err
	}
	var deliveries load.Report
	// An event that is late by more than a probe may be is lost to its reader.
	for deadline := time.Now().Add(load.ProbeTimeout); ; {
		if deliveries, err = r.subscribers.ask(load.CommandReport); err != nil {
			return err
		}
		if deliveries.Deliveries >= r.row.Expected || time.Now().After(deadline) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	r.row.Probes, r.row.Shaken = probes.Probes, probes.Shaken
	r.row.Deliveries, r.row.Faults = min(deliveries.Deliveries, r.row.Expected), deliveries.Faults
	shakes, err := hdrhistogram.Decode(probes.Latency)
	if err != nil {
		return fmt.Errorf("read handshakes' latencies: %w", err)
	}
	came, err := hdrhistogram.Decode(deliveries.Latency)
	if err != nil {
		return fmt.Errorf("read deliveries' latencies: %w", err)
	}
	ms := func(h *hdrhistogram.Histogram, q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1e6 }
	r.row.HandshakeP50, r.row.HandshakeP99, r.row.DeliveryP99 = ms(shakes, 50), ms(shakes, 99), ms(came, 99)
	r.row.Goodput = float64(r.row.Deliveries) / float64(max(r.row.Expected, 1))
	r.row.Handshakes = float64(r.row.Shaken) / float64(max(r.row.Probes, 1))
	return nil
}

func (r *floodRun) endWorkers() {
	for _, w := range []*Worker{r.subscribers, r.prober} {
		if w != nil {
			w.End()
		}
	}
}

// close ends what build began, in reverse.
func (r *floodRun) close() error {
	var errs []error
	if r.flood != nil {
		errs = append(errs, r.flood.Close())
	}
	if r.pub != nil {
		r.pub.Close()
	}
	r.endWorkers()
	if r.lab != nil {
		errs = append(errs, r.lab.Close())
	}
	return errors.Join(errs...)
}
