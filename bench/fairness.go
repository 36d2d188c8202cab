package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// FairnessConfig configures [RunFairness]. Zero fields take the defaults.
type FairnessConfig struct {
	// Conns subscribe to the big topic, Small to the other. Defaults 10000 and 100.
	Conns, Small int
	// Rate is events a second of the small topic, BigRate of the big one while it is busy, which
	// is to be more than its conns can be written to one by one. Defaults 10 and 100.
	Rate, BigRate float64
	// Size is a payload's bytes. Default 128.
	Size int
	// Duration is how long each turn is measured, Reps how many turns there are of each kind. Defaults
	// 10 s and 3.
	Duration time.Duration
	Reps     int
}

// FairnessResult is a run's.
type FairnessResult struct {
	Host    HostCard `json:"host"`
	Conns   int      `json:"conns"`
	Small   int      `json:"small_conns"`
	BigRate float64  `json:"big_events_per_second"`
	// MeasuredFirst says that the processes which publish to the small topic, and subscribe to it, had a
	// CPU before all others whenever they wanted one (SCHED_RR). It takes root.
	MeasuredFirst bool `json:"measured_first"`
	// Alone and Busy are the turns: what the subscribers of the small topic saw.
	Alone []Step `json:"alone"`
	Busy  []Step `json:"busy"`
	// Apart is what those of another server's topic see, while this one is as busy: what the host alone
	// does to them, whose processors they share.
	Apart []Step `json:"apart"`
	// Big is what the big topic's saw meanwhile, in Busy and Apart.
	Big []Step `json:"big"`
	// P50Ratio and P99Ratio are the median of the busy turns to that of the others. The last two are of
	// those apart.
	P50Ratio      float64 `json:"p50_ratio"`
	P99Ratio      float64 `json:"p99_ratio"`
	ApartP50Ratio float64 `json:"apart_p50_ratio"`
	ApartP99Ratio float64 `json:"apart_p99_ratio"`
}

func (c FairnessConfig) withDefaults() FairnessConfig {
	if c.Small == 0 {
		c.Small = 100
	}
	if c.BigRate == 0 {
		c.BigRate = 100
	}
	if c.Reps == 0 {
		c.Reps = 3
	}
	f := c.fanout().withDefaults()
	c.Conns, c.Rate, c.Size, c.Duration = f.Conns, f.Rate, f.Size, f.Duration
	return c
}

func (c FairnessConfig) fanout() FanoutConfig {
	return FanoutConfig{Conns: c.Conns, Rate: c.Rate, Size: c.Size, Duration: c.Duration}
}

// Validate says what is wrong, joined; nil if nothing is.
func (c FairnessConfig) Validate() error {
	c = c.withDefaults()
	errs := []error{c.fanout().Validate()}
	if c.Small < 1 || c.Small > connsPerWorker {
		errs = append(errs, fmt.Errorf("--small is %d: want 1 to %d", c.Small, connsPerWorker))
	}
	if c.BigRate < 1 || c.BigRate > 5000 {
		errs = append(errs, fmt.Errorf("--big-rate is %v: want 1 to 5000", c.BigRate))
	}
	if c.Reps < 1 || c.Reps > 100 {
		errs = append(errs, fmt.Errorf("--reps is %d: want 1 to 100", c.Reps))
	}
	return errors.Join(errs...)
}

const (
	smallTopic = "bench.small"
	// bigLead is how long the big topic's events come before, and after, those that are measured.
	bigLead = time.Second
)

// fairness is a run: two topics of one server.
type fairness struct {
	cfg               FairnessConfig
	big, small, apart *fanout
	result            *FairnessResult
}

// RunFairness starts a weir of its own on loopback, and measures what subscribers of a small topic see
// while the loops have a big one's sweep to do all the time, in turns with and without that.
func RunFairness(ctx context.Context, cfg FairnessConfig, progress io.Writer) (*FairnessResult, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	srv, err := (&servers{}).start(ctx, ServerWeir, maxConnsEnv(cfg.Conns+cfg.Small))
	if err != nil {
		return nil, err
	}
	defer srv.end()
	f := &fairness{cfg: cfg, big: &fanout{cfg: cfg.fanout().withDefaults(), topic: fanoutTopic, progress: progress, server: srv}}
	f.result = &FairnessResult{Host: ReadHostCard(), Conns: cfg.Conns, Small: cfg.Small, BigRate: cfg.BigRate}
	defer f.big.stop()
	if err := f.big.open(ctx, &FanoutTurn{}); err != nil {
		return nil, err
	}
	other, err := (&servers{}).start(ctx, ServerWeir, maxConnsEnv(cfg.Small))
	if err != nil {
		return nil, err
	}
	defer other.end()
	small := cfg.fanout()
	small.Conns = cfg.Small
	measured := []int{os.Getpid()}
	for _, s := range []struct {
		at  **fanout
		srv *server
	}{{&f.small, srv}, {&f.apart, other}} {
		one := &fanout{cfg: small.withDefaults(), topic: smallTopic, progress: progress, server: s.srv}
		defer one.stop()
		if err := one.open(ctx, &FanoutTurn{}); err != nil {
			return nil, err
		}
		*s.at = one
		measured = append(measured, pids(one.workers)...)
	}
	// What measures is to have a CPU when it wants one: the wait for that is not the server's.
	f.result.MeasuredFirst = goFirst(measured)
	for rep := range cfg.Reps {
		for _, turn := range rotated([]func(context.Context) error{f.alone, f.busy, f.beside}, rep) {
			if err := turn(ctx); err != nil {
				return nil, err
			}
		}
	}
	f.result.compare()
	return f.result, nil
}

func (r *FairnessResult) compare() {
	ratio := func(steps []Step, of func(Step) float64) float64 {
		return medianOf(steps, of) / max(medianOf(r.Alone, of), 0.001)
	}
	p50, p99 := func(s Step) float64 { return s.P50 }, func(s Step) float64 { return s.P99 }
	r.P50Ratio, r.P99Ratio = ratio(r.Busy, p50), ratio(r.Busy, p99)
	r.ApartP50Ratio, r.ApartP99Ratio = ratio(r.Apart, p50), ratio(r.Apart, p99)
}

func medianOf(steps []Step, of func(Step) float64) float64 {
	var values []float64
	for _, s := range steps {
		values = append(values, of(s))
	}
	return median(values)
}

func pids(workers []*Worker) (all []int) {
	for _, w := range workers {
		all = append(all, w.Pid())
	}
	return all
}

// alone measures the small topic while the big one has no events.
func (f *fairness) alone(ctx context.Context) error {
	s, err := f.measureSmall(ctx, f.small, "alone")
	f.result.Alone = append(f.result.Alone, s)
	return err
}

// busy measures it while the big one has too many.
func (f *fairness) busy(ctx context.Context) error {
	s, err := f.whileBusy(ctx, f.small, "busy")
	f.result.Busy = append(f.result.Busy, s)
	return err
}

// beside measures that of the other server meanwhile.
func (f *fairness) beside(ctx context.Context) error {
	s, err := f.whileBusy(ctx, f.apart, "apart")
	f.result.Apart = append(f.result.Apart, s)
	return err
}

// whileBusy measures small while the big topic has too many events.
func (f *fairness) whileBusy(ctx context.Context, small *fanout, turn string) (s Step, err error) {
	if err := f.big.reset(); err != nil {
		return s, err
	}
	type done struct {
		published uint64
		err       error
	}
	big := make(chan done, 1)
	go func() {
		n, _, err := f.big.pub.Run(ctx, f.cfg.BigRate, f.cfg.Duration+2*bigLead)
		big <- done{n, err}
	}()
	select {
	case <-time.After(bigLead):
	case <-ctx.Done():
	}
	s, err = f.measureSmall(ctx, small, turn)
	d := <-big
	if err := errors.Join(err, d.err); err != nil {
		return s, err
	}
	b := Step{Rate: f.cfg.BigRate, Published: d.published, Expected: d.published * uint64(f.cfg.Conns)} //nolint:gosec // bounded by Validate
	hist, err := f.big.gather(ctx, &b)
	if err != nil {
		return s, err
	}
	b.setLatency(hist)
	b.Holds = b.Deliveries == b.Expected && !b.Faults.Any()
	f.result.Big = append(f.result.Big, b)
	fmt.Fprintf(f.big.progress, "  big  %8.0f msg/s to %d  p50 %.1f  p99 %.1f ms\n", b.Rate, f.cfg.Conns, b.P50, b.P99)
	return s, nil
}

func (f *fairness) measureSmall(ctx context.Context, small *fanout, turn string) (Step, error) {
	s, err := small.measure(ctx, f.cfg.Rate, f.cfg.Duration)
	if err == nil {
		fmt.Fprintf(small.progress, "%5s  %8.0f msg/s to %d  p50 %.2f  p99 %.2f  max %.2f ms  %.2f cores\n", turn, s.Rate, f.cfg.Small, s.P50, s.P99, s.Max, s.ServerCores)
	}
	return s, err
}
