package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"weir/bench"
	"weir/bench/load"
	"weir/bpf/flood"
)

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *int
		value int
	}{{&c.Seconds, 60}, {&c.Conns, 2000}, {&c.FloodPerSecond, 100_000}, {&c.FloodSeconds, 10}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.EventsPerSecond == 0 {
		c.EventsPerSecond = 20
	}
	return c
}

const (
	prefix      = "weir-demo-"
	topic       = "demo.prices"
	goodSources = 20
	badSources  = 8
	quota       = 5000 // packets a second, and at once
)

type demo struct {
	cfg    Config
	out    io.Writer
	lab    *bench.Lab
	worker *bench.Worker
	pub    *bench.Publisher
	flood  *flood.Flood
	with   *hdrhistogram.Histogram
	calm   *hdrhistogram.Histogram
	sum    Summary
	before map[string]uint64
}

// Run runs the demo and prints a line a second. It ends when ctx does.
func Run(ctx context.Context, cfg Config, out io.Writer) (sum *Summary, err error) {
	d := &demo{cfg: cfg.withDefaults(), out: out, with: newHist(), calm: newHist(), before: map[string]uint64{}}
	d.sum.Dropped = map[string]uint64{}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.build(ctx); err != nil {
		return nil, err
	}
	if err := d.play(ctx); err != nil && ctx.Err() == nil {
		return nil, err
	}
	ms := func(h *hdrhistogram.Histogram) float64 { return float64(h.ValueAtQuantile(99)) / 1e6 }
	d.sum.P99Without, d.sum.P99With = ms(d.calm), ms(d.with)
	return &d.sum, nil
}

func newHist() *hdrhistogram.Histogram { return hdrhistogram.New(1000, int64(time.Minute), 3) }

// build makes the two hosts, the edge in one, and its subscribers in the other.
func (d *demo) build(ctx context.Context) (err error) {
	sources := bench.LabAddrs(bench.LabSubscribers, goodSources)
	if d.lab, err = bench.NewLab(prefix, sources...); err != nil {
		return err
	}
	args, env := bench.LabServeXDP("enforce", quota)
	if err := d.lab.Serve(ctx, args, append(env, "WEIR_XDP_SLOTS=65536")...); err != nil {
		return err
	}
	if d.worker, err = bench.StartWorker(d.lab.InLoad, load.Config{Edge: bench.LabEdge(), Target: "/ws/" + topic, Conns: d.cfg.Conns, Sources: sources}); err != nil {
		return err
	}
	if _, err := d.worker.Report(); err != nil {
		return err
	}
	if d.pub, err = bench.NewPublisher(ctx, d.lab.Edge.DialContext, bench.LabAdmin, topic, 128); err != nil {
		return err
	}
	d.flood, err = d.lab.Flood(flood.KindMix, bench.LabAddrs(bench.LabFlooders, badSources), nil)
	return err
}

// play publishes, floods half of the time, and reports each second.
func (d *demo) play(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	failed := make(chan error, 2)
	wg.Go(func() {
		_, _, err := d.pub.Run(ctx, d.cfg.EventsPerSecond, time.Duration(d.cfg.Seconds+5)*time.Second)
		if err != nil && ctx.Err() == nil {
			failed <- err
		}
	})
	fmt.Fprintf(d.out, "%d subscribers from %d addresses, %v events/s; the flood is %d packets/s from %d addresses, a client's quota %d/s\n", d.cfg.Conns, goodSources, d.cfg.EventsPerSecond, d.cfg.FloodPerSecond, badSources, quota)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for at := range d.cfg.Seconds {
		flooding := at/d.cfg.FloodSeconds%2 == 1
		second, endSecond := context.WithTimeout(ctx, time.Second)
		sent := make(chan uint64, 1)
		if flooding {
			wg.Go(func() {
				r, err := d.flood.Run(second, d.cfg.FloodPerSecond)
				sent <- r.Sent
				if err != nil {
					failed <- err
				}
			})
		}
		select {
		case err := <-failed:
			endSecond()
			return err
		case <-ctx.Done():
			endSecond()
			return nil
		case <-t.C:
		}
		endSecond()
		if flooding {
			d.sum.Flooded += <-sent
		}
		if err := d.report(ctx, at+1, flooding); err != nil {
			return err
		}
	}
	return nil
}

// report gathers a second and prints it.
func (d *demo) report(ctx context.Context, at int, flooding bool) error {
	if err := d.worker.Command(load.CommandReset); err != nil {
		return err
	}
	r, err := d.worker.Report()
	if err != nil {
		return err
	}
	hist, err := hdrhistogram.Decode(r.Latency)
	if err != nil {
		return fmt.Errorf("read latencies: %w", err)
	}
	s := Second{
		At: at, Flood: flooding, Conns: r.Connected, Deliveries: r.Deliveries, Dropped: map[string]uint64{},
		P50: float64(hist.ValueAtQuantile(50)) / 1e6, P99: float64(hist.ValueAtQuantile(99)) / 1e6,
	}
	if flooding {
		d.with.Merge(hist)
	} else {
		d.calm.Merge(hist)
	}
	d.sum.Deliveries += r.Deliveries
	d.sum.Faults.Add(r.Faults)
	verdicts, err := d.lab.Verdicts(ctx)
	if err != nil {
		return err
	}
	dropped := verdicts.Dropped
	for reason, n := range dropped {
		if more := n - d.before[reason]; more > 0 {
			s.Dropped[reason] = more
			d.sum.Dropped[reason] += more
		}
	}
	d.before = dropped
	return d.print(s)
}

func (d *demo) print(s Second) error {
	if d.cfg.JSON {
		return json.NewEncoder(d.out).Encode(s)
	}
	mark := "     "
	if s.Flood {
		mark = "FLOOD"
	}
	_, err := fmt.Fprintf(d.out, "%3d s %s  %d conns  %6d deliveries/s  p50 %5.1f ms  p99 %5.1f ms  dropped %s\n", s.At, mark, s.Conns, s.Deliveries, s.P50, s.P99, Reasons(s.Dropped))
	return err
}

// close ends what build began, in reverse.
func (d *demo) close() error {
	var errs []error
	if d.flood != nil {
		errs = append(errs, d.flood.Close())
	}
	if d.pub != nil {
		d.pub.Close()
	}
	if d.worker != nil {
		d.worker.End()
	}
	if d.lab != nil {
		errs = append(errs, d.lab.Close())
	}
	return errors.Join(errs...)
}
