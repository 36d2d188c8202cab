package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"weir/bench/httpload"
	"weir/bpf/latency"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Peers of [RunGatewayAbuse] beside PeerNginx and PeerHAProxy.
const (
	// PeerWeir429 answers all that is over a quota with a 429, PeerWeirEscalate drops who goes on in XDP.
	PeerWeir429      = "weir-429"
	PeerWeirEscalate = "weir-escalate"
)

// abusePeers are all of them.
func abusePeers() []string { return []string{PeerWeir429, PeerWeirEscalate, PeerNginx, PeerHAProxy} }

const (
	abusePrefix = "weir-abuse-"
	abuserConns = 16
	// abuseSettle is how long the abuser has abused before it is measured: by then it is dropped, where it is to be.
	abuseSettle = 3 * time.Second
	// abuseTimeout is how long the abuser waits for an answer before it begins anew.
	abuseTimeout = time.Second
	// cpuTick is what CPU times are counted in.
	cpuTick = 10 * time.Millisecond
)

// AbuseTurn is one gateway's: good clients without the abuser and with it, then nobody, and the abuser alone.
type AbuseTurn struct {
	Peer   string     `json:"peer"`
	Rep    int        `json:"rep"`
	Alone  AbusePhase `json:"alone"`
	Abused AbusePhase `json:"abused"`
	Idle   AbusePhase `json:"idle"`
	Only   AbusePhase `json:"only_abuser"`
	// AbuserCores is the node's CPU for good clients and the abuser beyond that for them alone, OnlyCores that for the abuser alone beyond
	// that for nobody: the first is what it costs beside others, the second can be told where that is less than what the same load
	// of others takes from one phase to the next. P99Ratio is the good clients' p99 with the abuser over that without.
	AbuserCores float64 `json:"abuser_cores"`
	OnlyCores   float64 `json:"only_abuser_cores"`
	P99Ratio    float64 `json:"good_p99_ratio"`
	// MeasuredFirst says that the good clients had a CPU before all others whenever they wanted one (SCHED_RR).
	MeasuredFirst bool `json:"measured_first"`
}

// AbusePhase is what was measured meanwhile. Cores are CPU time a second.
type AbusePhase struct {
	// NodeCores is the sum of those below. Softirq is the host's time in the soft interrupts that receive packets, those of the load too, as
	// the kernel's tracepoints have it; where no tracer can be loaded, and Sampled says so, that in all soft interrupts by ticks of the
	// clock, which is 0.01 to 0.3 for the same load.
	NodeCores float64 `json:"node_cores"`
	Sampled   bool    `json:"softirq_sampled,omitempty"`
	Softirq   float64 `json:"softirq_cores"`
	Gateway   float64 `json:"gateway_cores"`
	Upstream  float64 `json:"upstream_cores"`
	// GoodP50, GoodP99 and GoodP999 are the good clients' latencies, microseconds from when a request was due.
	GoodP50  float64 `json:"good_p50_us"`
	GoodP99  float64 `json:"good_p99_us"`
	GoodP999 float64 `json:"good_p999_us"`
	// Good are the good clients' requests, Abuser the abuser's; nil without any.
	Good   *httpload.Report `json:"good,omitempty"`
	Abuser *httpload.Report `json:"abuser,omitempty"`
}

// AbuseResult is a run's.
type AbuseResult struct {
	Host      HostCard          `json:"host"`
	Versions  map[string]string `json:"versions"`
	Missing   []string          `json:"missing,omitempty"`
	Good      int               `json:"good_clients"`
	PerClient float64           `json:"good_requests_per_second_each"`
	Quota     int               `json:"quota_requests_per_second"`
	Times     float64           `json:"abuser_times_its_quota"`
	Seconds   float64           `json:"seconds"`
	Turns     []AbuseTurn       `json:"turns"`
	Bars      []Bar             `json:"bars"`
}

// abuseRun is one gateway's turn.
type abuseRun struct {
	cfg       GatewayConfig
	lab       *Lab
	dir       string
	upstream  *peerProcess
	gateway   *peerProcess
	receiving *latency.Tracer // nil where it cannot be loaded
}

// RunGatewayAbuse measures what one client that sends more than its quota costs a node, and does to those that do not. It needs root.
func RunGatewayAbuse(ctx context.Context, cfg GatewayConfig, progress io.Writer) (_ *AbuseResult, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	cfg.Peers = abusePeers()
	r, err := newGatewayRun(ctx, cfg, progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	cfg = r.cfg
	out := &AbuseResult{
		Host: r.result.Host, Versions: r.result.Versions, Missing: r.result.Missing, Good: cfg.Good, PerClient: cfg.PerClient,
		Quota: cfg.Quota, Times: cfg.Abuse, Seconds: cfg.Duration.Seconds(),
	}
	for rep := range cfg.Reps {
		for _, peer := range rotated(cfg.Peers, rep) {
			t, err := r.abuseTurn(ctx, peer)
			if err != nil {
				return nil, fmt.Errorf("measure %s: %w", peer, err)
			}
			t.Rep = rep
			out.Turns = append(out.Turns, t)
			fmt.Fprintln(progress, t)
		}
	}
	out.Bars = abuseBars(out.Turns, out.Seconds)
	return out, nil
}

// abuseTurn makes the namespaces, starts all in them, and measures without and with the abuser.
func (r *gatewayRun) abuseTurn(ctx context.Context, peer string) (t AbuseTurn, err error) {
	t.Peer = peer
	a := &abuseRun{cfg: r.cfg, dir: r.dir}
	defer func() { err = errors.Join(err, a.close()) }()
	if a.receiving, err = latency.Open(latency.Softirq, latency.Config{}); err != nil {
		fmt.Fprintln(r.progress, "soft interrupts are sampled: "+err.Error())
		a.receiving = nil
	}
	if err := a.build(ctx, peer, r.keys); err != nil {
		return t, err
	}
	t.MeasuredFirst = true
	for _, p := range []struct {
		is           *AbusePhase
		good, abuser bool
	}{{&t.Alone, true, false}, {&t.Abused, true, true}, {&t.Idle, false, false}, {&t.Only, false, true}} {
		var first bool
		if *p.is, first, err = a.measure(ctx, p.good, p.abuser); err != nil {
			return t, err
		}
		t.MeasuredFirst = t.MeasuredFirst && first
	}
	t.AbuserCores, t.OnlyCores = t.Abused.NodeCores-t.Alone.NodeCores, t.Only.NodeCores-t.Idle.NodeCores
	if t.Alone.GoodP99 > 0 {
		t.P99Ratio = t.Abused.GoodP99 / t.Alone.GoodP99
	}
	return t, nil
}

// measure starts the loads of a phase, and measures. first says whether good clients have a CPU before all others.
func (a *abuseRun) measure(ctx context.Context, withGood, withAbuser bool) (p AbusePhase, first bool, err error) {
	var good, abuser *Worker
	first = true
	if withGood {
		if good, err = startHTTPLoad(ctx, a.lab.InLoad, a.goodLoad()); err != nil {
			return p, false, err
		}
		defer good.End()
		first = goFirst([]int{good.Pid()})
	}
	if withAbuser {
		if abuser, err = startHTTPLoad(ctx, a.lab.InLoad, a.abuserLoad()); err != nil {
			return p, false, err
		}
		defer abuser.End()
	}
	p, err = a.phase(ctx, good, abuser)
	return p, first, err
}

// build starts the upstream and the gateway, on a host of their own.
func (a *abuseRun) build(ctx context.Context, peer string, keys map[string]bool) (err error) {
	if a.lab, err = NewLab(abusePrefix, append(LabAddrs(LabSubscribers, a.cfg.Good), LabAddrs(LabFlooders, 1)...)...); err != nil {
		return err
	}
	run := func(program string, args []string, env ...string) (p *Process, err error) {
		doErr := a.lab.Edge.Do(func() error {
			p, err = runHere(program, args, env...)
			return err
		})
		return p, doErr
	}
	at := netip.MustParseAddrPort("127.0.0.1:8080")
	if a.upstream, err = startUpstream(ctx, run, a.lab.Client, at, a.cfg.Workers, a.dir); err != nil {
		return err
	}
	c := peerConfig{
		peer: peer, listen: LabEdge(), upstream: at, limit: limitClient, quota: a.cfg.Quota, conns: 4096, workers: a.cfg.Workers, idle: a.cfg.Idle,
		dir: a.dir, keys: keys, admin: LabAdmin,
	}
	if peer == PeerWeirEscalate {
		c.xdpInterface, c.settings = LabEdgeEnd, a.cfg.Escalate
	}
	a.gateway, err = startPeer(ctx, run, a.lab.Client, c)
	return err
}

func (a *abuseRun) goodLoad() httpload.Config {
	return httpload.Config{
		To: LabEdge(), Target: "/", Conns: a.cfg.Good, Sources: LabAddrs(LabSubscribers, a.cfg.Good), PerSecond: a.cfg.PerClient * float64(a.cfg.Good),
		Warm: abuseSettle, Duration: a.cfg.Duration, Timeout: 5 * time.Second,
	}
}

func (a *abuseRun) abuserLoad() httpload.Config {
	return httpload.Config{
		To: LabEdge(), Target: "/", Conns: abuserConns, Sources: LabAddrs(LabFlooders, 1), PerSecond: a.cfg.Abuse * float64(a.cfg.Quota),
		Warm: abuseSettle, Duration: a.cfg.Duration, Timeout: abuseTimeout,
	}
}

// phase has the loads keep to their schedules, those that are not nil, and measures once they have for a while.
func (a *abuseRun) phase(ctx context.Context, good, abuser *Worker) (p AbusePhase, err error) {
	type played struct {
		report *httpload.Report
		err    error
	}
	play := func(w *Worker) <-chan played {
		c := make(chan played, 1)
		if w == nil {
			c <- played{}
			return c
		}
		go func() {
			report, err := playHTTPLoad(w)
			c <- played{&report, err}
		}()
		return c
	}
	goodDone, abuserDone := play(good), play(abuser)
	before, err := a.cpuAfter(ctx, abuseSettle)
	if err == nil {
		var after abuseCPU
		if after, err = a.cpuAfter(ctx, a.cfg.Duration); err == nil {
			p.setCPU(before, after)
			p.Sampled = a.receiving == nil
		}
	}
	if err != nil { // the loads end with their input
		for _, w := range []*Worker{good, abuser} {
			if w != nil {
				w.End()
			}
		}
	}
	g, b := <-goodDone, <-abuserDone
	p.Good, p.Abuser, err = g.report, b.report, errors.Join(err, g.err, b.err)
	if err != nil || p.Good == nil {
		return p, err
	}
	hist, err := hdrhistogram.Decode(p.Good.Latency)
	if err != nil {
		return p, fmt.Errorf("read latencies: %w", err)
	}
	micros := func(q float64) float64 { return float64(hist.ValueAtQuantile(q)) / 1000 }
	p.GoodP50, p.GoodP99, p.GoodP999 = micros(50), micros(99), micros(99.9)
	return p, nil
}

// abuseCPU is the CPU time so far, seconds.
type abuseCPU struct {
	at                         time.Time
	softirq, gateway, upstream float64
}

// cpuAfter reads it in a while.
func (a *abuseRun) cpuAfter(ctx context.Context, wait time.Duration) (c abuseCPU, err error) {
	select {
	case <-ctx.Done():
		return c, fmt.Errorf("interrupted: %w", ctx.Err())
	case <-time.After(wait):
	}
	c.at = time.Now()
	if c.softirq, err = a.softirq(); err != nil {
		return c, err
	}
	if c.gateway, err = a.gateway.cpu(); err != nil {
		return c, err
	}
	c.upstream, err = a.upstream.cpu()
	return c, err
}

// softirq is the time in soft interrupts so far, seconds.
func (a *abuseRun) softirq() (float64, error) {
	if a.receiving == nil {
		ticks, _, err := readSoftirq()
		return float64(ticks) * cpuTick.Seconds(), err
	}
	s, err := a.receiving.Snapshot()
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	i := slices.IndexFunc(s.Histograms, func(h latency.Histogram) bool { return h.Name == "running" })
	return s.Histograms[i].Sum.Seconds(), nil
}

func (p *AbusePhase) setCPU(before, after abuseCPU) {
	seconds := after.at.Sub(before.at).Seconds()
	p.Softirq, p.Gateway, p.Upstream = (after.softirq-before.softirq)/seconds, (after.gateway-before.gateway)/seconds, (after.upstream-before.upstream)/seconds
	p.NodeCores = p.Softirq + p.Gateway + p.Upstream
}

// close ends what build began, in reverse.
func (a *abuseRun) close() error {
	for _, p := range []*peerProcess{a.gateway, a.upstream} {
		if p != nil {
			p.end()
		}
	}
	var err error
	if a.receiving != nil {
		err = a.receiving.Close()
	}
	if a.lab == nil {
		return err
	}
	a.lab.Client.Transport.(*http.Transport).CloseIdleConnections() //nolint:errcheck,forcetypeassert // NewLab made it
	return errors.Join(err, a.lab.Close())
}

// String is a line of progress.
func (t AbuseTurn) String() string {
	var b httpload.Report
	if t.Abused.Abuser != nil {
		b = *t.Abused.Abuser
	}
	return fmt.Sprintf("%-13s node %.3f cores, with the abuser %+.3f  good p99 %.0f us, with the abuser %.0f us  abuser: %d ok, %d refused, %d lost; alone %+.4f cores",
		t.Peer, t.Alone.NodeCores, t.AbuserCores, t.Alone.GoodP99, t.Abused.GoodP99, b.OK, b.Refused, b.Lost, t.OnlyCores)
}
