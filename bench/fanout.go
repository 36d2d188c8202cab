package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"weir/bench/load"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// FanoutConfig configures [RunFanout]. Zero fields take the defaults.
type FanoutConfig struct {
	// Conns subscribe to one topic. Default 10000.
	Conns int
	// Rate is events a second; 0 searches for the highest that nothing is lost at. Default 10.
	Rate float64
	// Search looks for the highest rate.
	Search bool
	// Size is a payload's, bytes. Default 128.
	Size int
	// Duration is how long each rate is measured. Default 10 s.
	Duration time.Duration
	// Workers hold the conns. Default one for each 15,000.
	Workers int
}

// Step is what was measured at one rate.
type Step struct {
	Rate        float64     `json:"rate"`
	Published   uint64      `json:"published"`
	Expected    uint64      `json:"expected"`
	Deliveries  uint64      `json:"deliveries"`
	PerSecond   float64     `json:"deliveries_per_second"`
	MicrosCPU   float64     `json:"server_cpu_us_per_delivery"`
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

// FanoutResult is a run's.
type FanoutResult struct {
	Host            HostCard `json:"host"`
	Conns           int      `json:"conns"`
	Size            int      `json:"payload_bytes"`
	ConnectsPerSec  float64  `json:"connects_per_second"`
	ServerBaseBytes uint64   `json:"server_rss_bytes_without_conns"`
	BytesPerConn    float64  `json:"server_rss_bytes_per_idle_subscribed_conn"`
	Steps           []Step   `json:"steps"`
	// Best is the step with the highest rate that held, nil if none did.
	Best *Step `json:"best"`
}

// connsPerWorker stays below the descriptor limit of most hosts.
const connsPerWorker = 15000

func (c FanoutConfig) withDefaults() FanoutConfig {
	if c.Conns == 0 {
		c.Conns = 10000
	}
	if c.Rate == 0 {
		c.Rate = 10
	}
	if c.Size == 0 {
		c.Size = 128
	}
	if c.Duration == 0 {
		c.Duration = 10 * time.Second
	}
	if c.Workers == 0 {
		c.Workers = (c.Conns + connsPerWorker - 1) / connsPerWorker
	}
	return c
}

// Validate says what is wrong, joined; nil if nothing is.
func (c FanoutConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("--%s is %v: want %s", field, value, want))
	}
	if c.Conns < 1 || c.Conns > 1_000_000 {
		bad("conns", c.Conns, "1 to 1000000")
	}
	if c.Size < load.HeadBytes || c.Size > 32<<10 {
		bad("size", c.Size, fmt.Sprintf("%d to 32768", load.HeadBytes))
	}
	if c.Rate < 0.1 || c.Rate > 50000 {
		bad("rate", c.Rate, "0.1 to 50000")
	}
	if c.Duration < time.Second || c.Duration > time.Hour {
		bad("duration", c.Duration, "1s to 1h")
	}
	if c.Workers < 1 || c.Workers > 256 {
		bad("workers", c.Workers, "1 to 256")
	}
	return errors.Join(errs...)
}

const fanoutTopic = "bench.fanout"

// fanout is a run.
type fanout struct {
	cfg      FanoutConfig
	topic    string
	progress io.Writer
	server   *Process
	workers  []*Worker
	pub      *Publisher
	edge     netip.AddrPort
	admin    string
}

func newFanout(cfg FanoutConfig, progress io.Writer) *fanout {
	return &fanout{cfg: cfg.withDefaults(), topic: fanoutTopic, progress: progress}
}

// RunFanout starts a weir of its own on loopback, subscribes, publishes, and measures.
func RunFanout(ctx context.Context, cfg FanoutConfig, progress io.Writer) (*FanoutResult, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	f := newFanout(cfg, progress)
	defer f.stop()
	r := &FanoutResult{Host: ReadHostCard(), Conns: f.cfg.Conns, Size: f.cfg.Size}
	if err := f.open(ctx, r); err != nil {
		return nil, err
	}
	if err := f.steps(ctx, r); err != nil {
		return nil, err
	}
	for i := range r.Steps {
		if s := &r.Steps[i]; s.Holds && (r.Best == nil || s.Rate > r.Best.Rate) {
			r.Best = s
		}
	}
	return r, nil
}

// open starts all, and warms it up.
func (f *fanout) open(ctx context.Context, r *FanoutResult) error {
	if err := f.startServer(ctx); err != nil {
		return err
	}
	return f.openTopic(ctx, r)
}

// openTopic is open for a server that runs.
func (f *fanout) openTopic(ctx context.Context, r *FanoutResult) (err error) {
	if err := f.subscribe(ctx, r); err != nil {
		return err
	}
	if f.pub, err = NewPublisher(ctx, (&net.Dialer{}).DialContext, f.admin, f.topic, f.cfg.Size); err != nil {
		return err
	}
	_, err = f.measure(ctx, 5, time.Second)
	return err
}

func (f *fanout) startServer(ctx context.Context) error {
	edgePort, err := FreePort()
	if err != nil {
		return err
	}
	adminPort, err := FreePort()
	if err != nil {
		return err
	}
	f.edge = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(edgePort)) //nolint:gosec // a port
	f.admin = "127.0.0.1:" + strconv.Itoa(adminPort)
	f.server, err = StartProcess([]string{"serve", "--listen", f.edge.String(), "--admin", f.admin, "--xdp", "off", "--log-level", "error"}, nil, nil)
	if err != nil {
		return err
	}
	return f.server.WaitReady(ctx, http.DefaultClient, "http://"+f.admin)
}

// sources are loopback addresses to connect from: past some 14,000 conns from one address to
// one port, the kernel's search for a free port gets slow.
func sources(n int) []netip.Addr {
	var all []netip.Addr
	for i := range n/10000 + 1 {
		all = append(all, netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)}))
	}
	return all
}

// subscribe starts the workers and measures what a conn costs the server.
func (f *fanout) subscribe(ctx context.Context, r *FanoutResult) error {
	before, err := f.settledRSS(ctx)
	if err != nil {
		return err
	}
	r.ServerBaseBytes = before
	start := time.Now()
	left := f.cfg.Conns
	for i := range f.cfg.Workers {
		n := left / (f.cfg.Workers - i)
		left -= n
		w, err := StartWorker(StartProcess, load.Config{Edge: f.edge, Target: "/ws/" + f.topic, Conns: n, Sources: sources(f.cfg.Conns)})
		if err != nil {
			return err
		}
		f.workers = append(f.workers, w)
	}
	for _, w := range f.workers {
		if _, err := w.Report(); err != nil {
			return err
		}
	}
	r.ConnectsPerSec = float64(f.cfg.Conns) / time.Since(start).Seconds()
	after, err := f.settledRSS(ctx)
	if err != nil {
		return err
	}
	r.BytesPerConn = (float64(after) - float64(before)) / float64(f.cfg.Conns)
	fmt.Fprintf(f.progress, "%d connections, %.0f/s, %.0f B of server memory each\n", f.cfg.Conns, r.ConnectsPerSec, r.BytesPerConn)
	return nil
}

// settledRSS is the server's memory after the garbage of connecting is gone.
func (f *fanout) settledRSS(ctx context.Context) (uint64, error) {
	for range 2 { // the second collection frees what the first one's finalizers held
		if _, err := get(ctx, http.DefaultClient, "http://"+f.admin+"/debug/pprof/heap?gc=1"); err != nil {
			return 0, err
		}
	}
	return rssBytes(f.server.Pid())
}

// get reads what a server answers.
func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	return io.ReadAll(res.Body)
}

// steps measures the one rate, or searches for the highest.
func (f *fanout) steps(ctx context.Context, r *FanoutResult) error {
	step := func(rate float64) (bool, error) {
		s, err := f.measure(ctx, rate, f.cfg.Duration)
		if err != nil {
			return false, err
		}
		r.Steps = append(r.Steps, s)
		f.print(s)
		return s.Holds, nil
	}
	rate := f.cfg.Rate
	holds, err := step(rate)
	if err != nil || !f.cfg.Search {
		return err
	}
	low, high := 0.0, 0.0
	for holds && rate < 20000 {
		low, rate = rate, rate*2
		if holds, err = step(rate); err != nil {
			return err
		}
	}
	if !holds {
		high = rate
	}
	for high > low*1.1 && low > 0 {
		middle := (low + high) / 2
		if holds, err = step(middle); err != nil {
			return err
		}
		if holds {
			low = middle
		} else {
			high = middle
		}
	}
	return nil
}

func (f *fanout) print(s Step) {
	verdict := "holds"
	if !s.Holds {
		verdict = "does not hold"
	}
	fmt.Fprintf(f.progress, "%8.0f msg/s  %9.0f deliveries/s  %5.2f us CPU each  p50 %.1f  p99 %.1f  max %.1f ms  %s\n",
		s.Rate, s.PerSecond, s.MicrosCPU, s.P50, s.P99, s.Max, verdict)
}

// Bounds on what holds: nothing lost, and the publisher and the slowest delivery at most this
// late.
const (
	maxLate    = time.Second
	drainTries = 100
)

// reset has the workers begin to count.
func (f *fanout) reset() error {
	for _, w := range f.workers {
		if err := w.Command(load.CommandReset); err != nil {
			return err
		}
		if _, err := w.Report(); err != nil {
			return err
		}
	}
	return nil
}

// measure publishes at a rate and gathers what came.
func (f *fanout) measure(ctx context.Context, rate float64, d time.Duration) (Step, error) {
	if err := f.reset(); err != nil {
		return Step{}, err
	}
	cpu, err := cpuSeconds(f.server.Pid())
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
	used, err := cpuSeconds(f.server.Pid())
	if err != nil {
		return Step{}, err
	}
	s.PerSecond = float64(s.Deliveries) / took
	s.MicrosCPU = (used - cpu) * 1e6 / float64(max(s.Deliveries, 1))
	s.ServerCores = (used - cpu) / took
	s.setLatency(hist)
	s.Holds = s.Deliveries == s.Expected && !s.Faults.Any() && late < maxLate && hist.ValueAtQuantile(99) < int64(maxLate)
	return s, nil
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
			if err := w.Command(load.CommandReport); err != nil {
				return nil, err
			}
			r, err := w.Report()
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

func (f *fanout) stop() {
	f.stopLoad()
	if f.server != nil {
		f.server.Stop(15 * time.Second)
	}
}

// stopLoad ends all but the server.
func (f *fanout) stopLoad() {
	if f.pub != nil {
		f.pub.Close()
	}
	for _, w := range f.workers {
		w.End()
	}
}
