package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"weir/bench"
	"weir/bench/flood"
	"weir/bench/load"
	"weir/bpf/netlab"
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
	edgePort    = 8000
	topic       = "demo.prices"
	goodSources = 20
	badSources  = 8
	quota       = "5000/s"
	burst       = "5000"
)

var (
	edgeAddr = netip.AddrFrom4([4]byte{198, 18, 0, 1})
	edge     = netip.AddrPortFrom(edgeAddr, edgePort)
)

// admin is the admin address inside the edge's namespace.
const admin = "127.0.0.1:8001"

type demo struct {
	cfg    Config
	out    io.Writer
	hosts  [2]*netlab.Namespace // edge, load
	server *bench.Process
	worker *bench.Worker
	pub    *bench.Publisher
	flood  *flood.Flood
	client *http.Client
	with   *hdrhistogram.Histogram
	calm   *hdrhistogram.Histogram
	sum    Summary
	before map[string]uint64
}

// Run runs the demo and prints a line a second. It ends when ctx does.
func Run(ctx context.Context, cfg Config, out io.Writer) (sum *Summary, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the demo makes network namespaces: run it as root")
	}
	d := &demo{cfg: cfg.withDefaults(), out: out, with: newHist(), calm: newHist(), before: map[string]uint64{}}
	d.sum.Dropped = map[string]uint64{}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := netlab.Cleanup(prefix); err != nil {
		return nil, fmt.Errorf("remove what an earlier demo left: %w", err)
	}
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

func address(third, fourth int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(third), byte(fourth)}) //nolint:gosec // small numbers
}

func addresses(third, n int) (all []netip.Addr) {
	for i := range n {
		all = append(all, address(third, i+1))
	}
	return all
}

// build makes the two hosts, the edge in one, and its subscribers in the other.
func (d *demo) build(ctx context.Context) (err error) {
	for i, name := range []string{"edge", "load"} {
		if d.hosts[i], err = netlab.New(prefix + name); err != nil {
			return err
		}
	}
	loadEnd := netlab.End{In: d.hosts[1], Interface: "load0"}
	for _, a := range addresses(1, goodSources) {
		loadEnd.Addrs = append(loadEnd.Addrs, netip.PrefixFrom(a, 16))
	}
	edgeEnd := netlab.End{In: d.hosts[0], Interface: "edge0", Addrs: []netip.Prefix{netip.PrefixFrom(edgeAddr, 16)}}
	if err := netlab.Pair(edgeEnd, loadEnd); err != nil {
		return err
	}
	d.client = &http.Client{Transport: &http.Transport{DialContext: d.hosts[0].DialContext}, Timeout: 5 * time.Second}
	if err := d.startEdge(ctx); err != nil {
		return err
	}
	if d.worker, err = bench.StartWorker(d.in(1), load.Config{Edge: edge, Target: "/ws/" + topic, Conns: d.cfg.Conns, Sources: addresses(1, goodSources)}); err != nil {
		return err
	}
	if _, err := d.worker.Report(); err != nil {
		return err
	}
	if d.pub, err = bench.NewPublisher(ctx, d.hosts[0].DialContext, admin, topic, 128); err != nil {
		return err
	}
	return d.openFlood()
}

// in starts processes in a host.
func (d *demo) in(host int) bench.Starter {
	return func(args []string, in io.Reader, out io.Writer, env ...string) (p *bench.Process, err error) {
		doErr := d.hosts[host].Do(func() error {
			p, err = bench.StartProcess(args, in, out, env...)
			return err
		})
		return p, doErr
	}
}

func (d *demo) startEdge(ctx context.Context) (err error) {
	d.server, err = d.in(0)([]string{"serve", "--listen", edge.String(), "--admin", admin, "--xdp", "on", "--interface", "edge0", "--log-level", "error"}, nil, nil,
		"WEIR_XDP_ATTACH=native", "WEIR_XDP_PACKETS="+quota, "WEIR_XDP_BURST="+burst, "WEIR_XDP_SLOTS=65536")
	if err != nil {
		return err
	}
	return d.server.WaitReady(ctx, d.client, "http://"+admin)
}

func (d *demo) openFlood() error {
	mac, err := d.hosts[0].MAC("edge0")
	if err != nil {
		return err
	}
	return d.hosts[1].Do(func() (err error) {
		d.flood, err = flood.Open(flood.Config{Interface: "load0", To: mac, Sources: addresses(2, badSources), Target: edge})
		return err
	})
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
	fmt.Fprintf(d.out, "%d subscribers from %d addresses, %v events/s; the flood is %d packets/s from %d addresses, a client's quota %s\n", d.cfg.Conns, goodSources, d.cfg.EventsPerSecond, d.cfg.FloodPerSecond, badSources, quota)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for at := range d.cfg.Seconds {
		flooding := at/d.cfg.FloodSeconds%2 == 1
		second, endSecond := context.WithTimeout(ctx, time.Second)
		sent := make(chan uint64, 1)
		if flooding {
			wg.Go(func() {
				n, err := d.flood.Run(second, d.cfg.FloodPerSecond)
				sent <- n
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
	dropped, err := d.dropped(ctx)
	if err != nil {
		return err
	}
	for reason, n := range dropped {
		if more := n - d.before[reason]; more > 0 {
			s.Dropped[reason] = more
			d.sum.Dropped[reason] += more
		}
	}
	d.before = dropped
	return d.print(s)
}

func (d *demo) dropped(ctx context.Context) (map[string]uint64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/api/info", nil)
	if err != nil {
		return nil, fmt.Errorf("ask the edge: %w", err)
	}
	res, err := d.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the edge: %w", err)
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	var info struct {
		Result struct{ Dropped map[string]uint64 }
	}
	if err := json.NewDecoder(res.Body).Decode(&info); err != nil {
		return nil, fmt.Errorf("read the edge's answer: %w", err)
	}
	return info.Result.Dropped, nil
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
	if d.flood != nil {
		d.flood.Close()
	}
	if d.pub != nil {
		d.pub.Close()
	}
	if d.worker != nil {
		d.worker.End()
	}
	if d.server != nil {
		d.server.Stop(15 * time.Second)
	}
	var errs []error
	for _, h := range d.hosts {
		if h != nil {
			errs = append(errs, h.Close())
		}
	}
	return errors.Join(errs...)
}
