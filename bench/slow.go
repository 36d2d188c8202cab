package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// SlowConfig configures [RunSlow]. Zero fields take the defaults.
type SlowConfig struct {
	// Conns subscribe and read, Stalled subscribe and never read. Defaults 10000 and 300.
	Conns, Stalled int
	// Rate is events a second, Size a payload's bytes. Defaults 10 and 128.
	Rate float64
	Size int
	// Duration is how long each turn is measured, Reps how many turns there are with and without
	// those that stall. Defaults 10 s and 3.
	Duration time.Duration
	Reps     int
}

// SlowResult is a run's.
type SlowResult struct {
	Host    HostCard `json:"host"`
	Conns   int      `json:"conns"`
	Stalled int      `json:"stalled_conns"`
	// Without and With are the turns: what those who read saw.
	Without []Step `json:"without_stalled"`
	With    []Step `json:"with_stalled"`
	// P99Ratio is the median over the turns of the latency with those that stall to that without.
	P99Ratio float64 `json:"p99_ratio"`
	// HeldProcess and HeldKernel are the bytes that the edge's ledger has for those that stall, the
	// most of the turns.
	HeldProcess float64 `json:"held_process_bytes"`
	HeldKernel  float64 `json:"held_kernel_bytes"`
}

func (c SlowConfig) withDefaults() SlowConfig {
	if c.Stalled == 0 {
		c.Stalled = 300
	}
	if c.Reps == 0 {
		c.Reps = 3
	}
	f := c.fanout().withDefaults()
	c.Conns, c.Rate, c.Size, c.Duration = f.Conns, f.Rate, f.Size, f.Duration
	return c
}

func (c SlowConfig) fanout() FanoutConfig {
	return FanoutConfig{Conns: c.Conns, Rate: c.Rate, Size: c.Size, Duration: c.Duration}
}

// maxStalled stays below the descriptor limit of most hosts.
const maxStalled = 900

// Validate says what is wrong, joined; nil if nothing is.
func (c SlowConfig) Validate() error {
	c = c.withDefaults()
	errs := []error{c.fanout().Validate()}
	if c.Stalled < 1 || c.Stalled > maxStalled {
		errs = append(errs, fmt.Errorf("--stalled is %d: want 1 to %d", c.Stalled, maxStalled))
	}
	if c.Reps < 1 || c.Reps > 100 {
		errs = append(errs, fmt.Errorf("--reps is %d: want 1 to 100", c.Reps))
	}
	return errors.Join(errs...)
}

const (
	// fillTopic is what those that stall are filled by, beside the topic that is measured.
	fillTopic = "bench.fill"
	fillBytes = 32 << 10
	// stalledReceiveBytes is a stalled client's receive buffer: what it has taken it holds itself.
	stalledReceiveBytes = 32 << 10
	fillTimeout         = 30 * time.Second
)

// RunSlow starts a weir of its own on loopback, and measures what those who read see while others do
// not, in turns with and without them.
func RunSlow(ctx context.Context, cfg SlowConfig, progress io.Writer) (*SlowResult, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	srv, err := (&servers{}).start(ctx, ServerWeir)
	if err != nil {
		return nil, err
	}
	defer srv.end()
	f := &fanout{cfg: cfg.fanout().withDefaults(), topic: fanoutTopic, progress: progress, server: srv}
	defer f.stop()
	if err := f.open(ctx, &FanoutTurn{}); err != nil {
		return nil, err
	}
	r := &SlowResult{Host: ReadHostCard(), Conns: cfg.Conns, Stalled: cfg.Stalled}
	var ratios []float64
	for rep := range cfg.Reps {
		turns := []func(context.Context, SlowConfig, *SlowResult) error{f.turnWithout, f.turnWith}
		for _, turn := range rotated(turns, rep) {
			if err := turn(ctx, cfg, r); err != nil {
				return nil, err
			}
		}
		n := len(r.With) - 1
		ratios = append(ratios, r.With[n].P99/max(r.Without[n].P99, 0.001))
	}
	r.P99Ratio = median(ratios)
	return r, nil
}

// turnWithout measures without those that stall.
func (f *fanout) turnWithout(ctx context.Context, cfg SlowConfig, r *SlowResult) error {
	s, err := f.measure(ctx, cfg.Rate, cfg.Duration)
	if err != nil {
		return err
	}
	f.print(s)
	r.Without = append(r.Without, s)
	return nil
}

// turnWith measures with them, and ends them.
func (f *fanout) turnWith(ctx context.Context, cfg SlowConfig, r *SlowResult) (err error) {
	stalled, err := f.stall(ctx, cfg.Stalled)
	defer func() {
		for _, c := range stalled {
			_ = c.Close() // it read nothing, and lost nothing
		}
		err = errors.Join(err, f.waitBehind(ctx, func(n float64) bool { return n == 0 }, nil))
	}()
	if err != nil {
		return err
	}
	s, err := f.measure(ctx, cfg.Rate, cfg.Duration)
	if err != nil {
		return err
	}
	f.print(s)
	r.With = append(r.With, s)
	m, err := f.server.metrics(ctx)
	if err != nil {
		return err
	}
	r.HeldProcess = max(r.HeldProcess, m[`weir_edge_held_bytes{where="process"}`])
	r.HeldKernel = max(r.HeldKernel, m[`weir_edge_held_bytes{where="kernel"}`])
	fmt.Fprintf(f.progress, "%.0f subscriptions behind, %.1f MB held in the process and %.1f MB in the kernel\n",
		m["weir_edge_behind_subscriptions"], m[`weir_edge_held_bytes{where="process"}`]/1e6, m[`weir_edge_held_bytes{where="kernel"}`]/1e6)
	return nil
}

// stall opens conns that do not read, and fills them until all are behind.
func (f *fanout) stall(ctx context.Context, n int) (conns []net.Conn, err error) {
	for range n {
		c, err := f.openStalled(ctx)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	pub, err := f.server.publisher(ctx, fillTopic, fillBytes)
	if err != nil {
		return conns, err
	}
	defer pub.Close()
	return conns, f.waitBehind(ctx, func(behind float64) bool { return behind >= float64(n) }, pub)
}

// waitBehind waits until the number of subscriptions behind is as wanted, and publishes meanwhile if pub
// is not nil.
func (f *fanout) waitBehind(ctx context.Context, wanted func(float64) bool, pub *Publisher) error {
	var behind float64
	for deadline := time.Now().Add(fillTimeout); time.Now().Before(deadline); {
		if pub != nil {
			if _, _, err := pub.Run(ctx, 20, time.Second); err != nil {
				return err
			}
		}
		m, err := f.server.metrics(ctx)
		if err != nil {
			return err
		}
		if behind = m["weir_edge_behind_subscriptions"]; wanted(behind) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%.0f subscriptions are behind, and were not as wanted within %v", behind, fillTimeout)
}

func (f *fanout) openStalled(ctx context.Context) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", f.server.edge.String())
	if err != nil {
		return nil, fmt.Errorf("connect to the edge: %w", err)
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		err = tcp.SetReadBuffer(stalledReceiveBytes)
	}
	if err == nil {
		_, err = fmt.Fprintf(c, "GET /ws?topic=%s&topic=%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", fanoutTopic, fillTopic)
	}
	var line string
	if err == nil {
		line, err = bufio.NewReaderSize(c, 16).ReadString('\n')
	}
	if err == nil && !strings.HasPrefix(line, "HTTP/1.1 101") {
		err = errors.New(strings.TrimSpace(line))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe without reading: %w", err), c.Close())
	}
	return c, nil
}
