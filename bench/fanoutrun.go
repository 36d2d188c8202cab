package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/netip"
	"time"

	"weir/bench/load"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Topics of a run: what many subscribe to, and what one does to show what the bus costs.
const (
	fanoutTopic = "bench.fanout"
	busTopic    = "bench.bus"
)

// fanout is one server with its subscribers.
type fanout struct {
	cfg      FanoutConfig
	topic    string
	progress io.Writer
	server   *server
	workers  []*Worker
	pub      *Publisher
}

// open subscribes, and warms up.
func (f *fanout) open(ctx context.Context, t *FanoutTurn) (err error) {
	if err := f.subscribe(ctx, t); err != nil {
		return err
	}
	if f.pub, err = f.server.publisher(ctx, f.topic, f.cfg.Size); err != nil {
		return err
	}
	_, err = f.measure(ctx, 5, time.Second)
	return err
}

// sources are loopback addresses to connect from: past some 14,000 conns from one address to
// one port, the kernel's search for a free port gets slow; and those closed keep theirs for a minute.
func sources(n int) []netip.Addr {
	var all []netip.Addr
	for i := range n/5000 + 1 {
		all = append(all, netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)}))
	}
	return all
}

// subscribe starts the workers and measures what a conn costs the server.
func (f *fanout) subscribe(ctx context.Context, t *FanoutTurn) (err error) {
	if t.ServerBaseBytes, err = f.settledRSS(ctx); err != nil {
		return err
	}
	if f.workers, err = startWorkers(f.server, f.topic, f.cfg.Conns, f.cfg.Workers, f.cfg.Conns); err != nil {
		return err
	}
	from, to, err := opened(f.workers)
	if err != nil {
		return err
	}
	t.ConnectsPerSec = float64(f.cfg.Conns) / (to - from).Seconds()
	after, err := f.settledRSS(ctx)
	if err != nil {
		return err
	}
	t.BytesPerConn = (float64(after) - float64(t.ServerBaseBytes)) / float64(f.cfg.Conns)
	return nil
}

// startWorkers starts load generators for so many conns, and has them open the first. Those that were started are returned with the error.
func startWorkers(srv *server, topic string, conns, workers, first int) (all []*Worker, err error) {
	for i := range workers {
		w, err := StartWorker(StartProcess, load.Config{Edge: srv.edge, Target: "/ws/" + topic, Conns: share(first, workers, i), Sources: sources(conns)})
		if err != nil {
			return all, err
		}
		all = append(all, w)
	}
	return all, nil
}

func endWorkers(all []*Worker) {
	for _, w := range all {
		w.End()
	}
}

// share is how many of all the i-th of n takes.
func share(all, n, i int) int { return all*(i+1)/n - all*i/n }

// tell has load generators open or close so many conns, shared among them. Each reports when it is
// done.
func tell(workers []*Worker, verb string, conns int) error {
	for i, w := range workers {
		if err := w.Command(fmt.Sprintf("%s %d", verb, share(conns, len(workers), i))); err != nil {
			return err
		}
	}
	return nil
}

// opened waits until all have opened what they were asked to, and returns when the first began and
// the last was done.
func opened(workers []*Worker) (from, to time.Duration, err error) {
	for i, w := range workers {
		r, err := w.Report()
		if err != nil {
			return 0, 0, err
		}
		if i == 0 || time.Duration(r.OpenedFrom) < from {
			from = time.Duration(r.OpenedFrom)
		}
		to = max(to, time.Duration(r.OpenedTo))
	}
	return from, to, nil
}

// settledRSS is the server's memory after the garbage of connecting is gone.
func (f *fanout) settledRSS(ctx context.Context) (uint64, error) {
	if _, err := f.server.collect(ctx); err != nil {
		return 0, err
	}
	return rssBytes(f.server.Pid())
}

// most searches for the highest rate that holds, between one that does and one that does not; high is
// 0 if none is known.
func (f *fanout) most(ctx context.Context, low, high float64) (steps []Step, err error) {
	for high == 0 || high > low*1.1 {
		rate := low * 2
		if high > 0 {
			rate = math.Sqrt(low * high)
		}
		if rate > maxRate {
			return steps, nil
		}
		s, err := f.measure(ctx, rate, f.cfg.Duration)
		if err != nil {
			return steps, err
		}
		steps = append(steps, s)
		f.print(s)
		if s.Holds {
			low = rate
		} else {
			high = rate
		}
	}
	return steps, nil
}

func (f *fanout) print(s Step) {
	verdict := "holds"
	if !s.Holds {
		verdict = "does not hold"
	}
	fmt.Fprintf(f.progress, "%-8s %8.0f msg/s  %9.0f deliveries/s  %5.2f us CPU each  p50 %.1f  p99 %.1f  max %.1f ms  %s\n",
		f.server.name, s.Rate, s.PerSecond, s.MicrosCPU, s.P50, s.P99, s.Max, verdict)
}

// Bounds on what holds: nothing lost, and the publisher and the slowest delivery at most this
// late.
const (
	maxLate    = time.Second
	drainTries = 100
)

// measure publishes at a rate and gathers what came.
func (f *fanout) measure(ctx context.Context, rate float64, d time.Duration) (Step, error) {
	if err := f.reset(); err != nil {
		return Step{}, err
	}
	before, err := f.cpu()
	if err != nil {
		return Step{}, err
	}
	start := time.Now()
	published, late, err := f.pub.Run(ctx, rate, d)
	if err != nil {
		return Step{}, err
	}
	s := Step{Rate: rate, Published: published, Expected: published * uint64(f.cfg.Conns), LateMillis: late.Seconds() * 1e3} //nolint:gosec // bounded by Validate
	hist, err := f.gather(ctx, &s)
	if err != nil {
		return Step{}, err
	}
	took := time.Since(start).Seconds()
	after, err := f.cpu()
	if err != nil {
		return Step{}, err
	}
	used := after.less(before)
	s.PerSecond = float64(s.Deliveries) / took
	s.MicrosCPU = used.server * 1e6 / float64(max(s.Deliveries, 1))
	s.LoadMicros = used.load * 1e6 / float64(max(s.Deliveries, 1))
	s.ServerCores = used.server / took
	s.setLatency(hist)
	s.Holds = s.Deliveries == s.Expected && !s.Faults.Any() && late < maxLate && hist.ValueAtQuantile(99) < int64(maxLate)
	return s, nil
}

// reset has the workers begin to count.
func (f *fanout) reset() error {
	for _, w := range f.workers {
		if _, err := w.ask(load.CommandReset); err != nil {
			return err
		}
	}
	return nil
}

func (s *Step) setLatency(hist *hdrhistogram.Histogram) {
	ms := func(v int64) float64 { return float64(v) / 1e6 }
	s.P50, s.P90, s.P99, s.P999, s.Max = ms(hist.ValueAtQuantile(50)), ms(hist.ValueAtQuantile(90)), ms(hist.ValueAtQuantile(99)), ms(hist.ValueAtQuantile(99.9)), ms(hist.Max())
}

// gather asks the workers until all events came, or nothing more comes.
func (f *fanout) gather(ctx context.Context, s *Step) (*hdrhistogram.Histogram, error) {
	last, still := uint64(0), 0
	for {
		hist := hdrhistogram.New(1000, int64(time.Minute), 3)
		s.Deliveries, s.Faults = 0, load.Faults{}
		for _, w := range f.workers {
			r, err := w.ask(load.CommandReport)
			if err != nil {
				return nil, err
			}
			s.Deliveries += r.Deliveries
			s.Faults.Add(r.Faults)
			part, err := hdrhistogram.Decode(r.Latency)
			if err != nil {
				return nil, fmt.Errorf("read a worker's latencies: %w", err)
			}
			hist.Merge(part)
		}
		if s.Deliveries == last {
			still++
		} else {
			last, still = s.Deliveries, 0
		}
		if s.Deliveries >= s.Expected || still == drainTries {
			return hist, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// cpu is what the server and its load have used.
func (f *fanout) cpu() (cpuUse, error) { return readCPU(f.server, f.workers) }

// cpuUse is CPU time, seconds.
type cpuUse struct{ server, load float64 }

func (c cpuUse) less(o cpuUse) cpuUse { return cpuUse{c.server - o.server, c.load - o.load} }

func readCPU(srv *server, workers []*Worker) (c cpuUse, err error) {
	if c.server, err = cpuSeconds(srv.Pid()); err != nil {
		return c, err
	}
	for _, w := range workers {
		n, err := cpuSeconds(w.Pid())
		if err != nil {
			return c, err
		}
		c.load += n
	}
	return c, nil
}

// stop ends the subscribers, not the server.
func (f *fanout) stop() {
	endWorkers(f.workers)
	if f.pub != nil {
		f.pub.Close()
	}
}
