package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"weir/bench/httpload"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// warmConns and warmFor are of the load before each turn: conns to the upstream are then open, and pages of memory there.
const (
	warmConns = 64
	warmFor   = time.Second
	// openWarm is the part of a turn at a fixed rate that does not count.
	openWarm = 500 * time.Millisecond
)

// gatewayRun is a run.
type gatewayRun struct {
	cfg      GatewayConfig
	progress io.Writer
	dir      string
	upstream netip.AddrPort
	upProc   *peerProcess
	keys     map[string]bool
	result   *GatewayResult
}

// RunGateway measures gateways on loopback, in turns, each started anew: as fast as it goes, at a fixed rate, and refusing all.
func RunGateway(ctx context.Context, cfg GatewayConfig, progress io.Writer) (_ *GatewayResult, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r, err := newGatewayRun(ctx, cfg.withDefaults(), progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if r.upstream, err = freeAddress(); err != nil {
		return nil, err
	}
	if r.upProc, err = startUpstream(ctx, runHere, http.DefaultClient, r.upstream, r.cfg.Workers, r.dir); err != nil {
		return nil, err
	}
	for _, phase := range []func(context.Context, int) error{r.closedLoop, r.refusals, r.openLoop} {
		for rep := range r.cfg.Reps {
			if err := phase(ctx, rep); err != nil {
				return nil, err
			}
		}
	}
	r.result.Rows = gatewayRows(r.result.Turns)
	r.result.Bars = gatewayBars(r.result.Turns)
	return r.result, nil
}

// newGatewayRun says what of the run there is on this host.
func newGatewayRun(ctx context.Context, cfg GatewayConfig, progress io.Writer) (*gatewayRun, error) {
	r := &gatewayRun{cfg: cfg, progress: progress, result: &GatewayResult{
		Host: ReadHostCard(), Versions: map[string]string{}, Workers: cfg.Workers, Idle: cfg.Idle, Threads: cfg.Threads, Seconds: cfg.Duration.Seconds(),
	}}
	printed, err := output(ctx, "", "gateway", "--print-config")
	if err != nil {
		return nil, fmt.Errorf("read what this weir can be told: %w", err)
	}
	r.keys = configKeys(string(printed))
	for _, p := range slices.Clone(r.cfg.Peers) {
		if err := r.look(ctx, p); err != nil {
			r.miss(p, err)
		}
	}
	for _, needed := range []string{"nginx", "wrk"} {
		if err := r.version(ctx, needed); err != nil {
			return nil, fmt.Errorf("the upstream of all is nginx, and the load wrk: %w", err)
		}
	}
	if err := r.version(ctx, "ab"); err != nil {
		r.miss(KindAB, err)
	}
	if r.dir, err = os.MkdirTemp("", "weir-gateway-"); err != nil {
		return nil, fmt.Errorf("make a directory for the gateways' files: %w", err)
	}
	return r, os.Chmod(r.dir, 0o755) //nolint:gosec // workers of nginx are another user
}

// look reports why a peer cannot be measured.
func (r *gatewayRun) look(ctx context.Context, peer string) error {
	if peer == PeerWeirNet && !r.keys[keyWay] {
		return fmt.Errorf("this weir has no %s: it always serves on event loops", keyWay)
	}
	if peer == PeerWeirEscalate {
		for key := range r.cfg.Escalate {
			if !r.keys[key] {
				return fmt.Errorf("this weir has no %s: see weir gateway --print-config for its keys, and --escalate", key)
			}
		}
	}
	if name := programs()[peer]; name != "" {
		return r.version(ctx, name)
	}
	return nil
}

// miss leaves a peer out, or a client, and says so.
func (r *gatewayRun) miss(what string, why error) {
	r.cfg.Peers = slices.DeleteFunc(r.cfg.Peers, func(p string) bool { return p == what })
	text := what + " is left out: " + why.Error()
	r.result.Missing = append(r.result.Missing, text)
	fmt.Fprintln(r.progress, text)
}

// version notes a program's version.
func (r *gatewayRun) version(ctx context.Context, name string) error {
	path, err := lookProgram(name)
	if err != nil {
		return err
	}
	flag := map[string]string{"caddy": "version", "ab": "-V"}[name]
	if flag == "" {
		flag = "-v"
	}
	printed, _ := output(ctx, path, flag) // wrk's exit code is 1
	first, _, _ := strings.Cut(strings.TrimSpace(string(printed)), "\n")
	r.result.Versions[name] = first
	return nil
}

func (r *gatewayRun) close() error {
	if r.upProc != nil {
		r.upProc.end()
	}
	return os.RemoveAll(r.dir)
}

// closedLoop measures all with each number of conns, as fast as it goes.
func (r *gatewayRun) closedLoop(ctx context.Context, rep int) error {
	for _, conns := range r.cfg.Conns {
		for _, peer := range rotated(r.cfg.Peers, rep) {
			if err := r.turn(ctx, GatewayTurn{Peer: peer, Kind: KindClosed, Conns: conns, Rep: rep}, limitFar); err != nil {
				return err
			}
		}
	}
	if _, ok := r.result.Versions["ab"]; !ok || !slices.Contains(r.cfg.Conns, warmConns) {
		return nil
	}
	for _, peer := range rotated(r.cfg.Peers, rep) {
		if err := r.turn(ctx, GatewayTurn{Peer: peer, Kind: KindAB, Conns: warmConns, Rep: rep}, limitFar); err != nil {
			return err
		}
	}
	return nil
}

// refusals measures what it costs to refuse.
func (r *gatewayRun) refusals(ctx context.Context, rep int) error {
	for _, peer := range rotated(limiting(), rep) {
		if !slices.Contains(r.cfg.Peers, peer) {
			continue
		}
		if err := r.turn(ctx, GatewayTurn{Peer: peer, Kind: KindRefused, Conns: warmConns, Rep: rep}, limitAll); err != nil {
			return err
		}
	}
	return nil
}

// openLoop measures all at a rate that each of them takes.
func (r *gatewayRun) openLoop(ctx context.Context, rep int) error {
	for _, conns := range r.cfg.Open {
		rate := r.cfg.Rate
		if rate == 0 {
			rate = openRate(r.result.Turns, conns)
		}
		for _, peer := range rotated(r.cfg.Peers, rep) {
			if err := r.turn(ctx, GatewayTurn{Peer: peer, Kind: KindOpen, Conns: conns, Rep: rep, Rate: rate}, limitFar); err != nil {
				return err
			}
		}
		if slices.Contains(r.cfg.Peers, PeerWeir) && slices.Contains(r.cfg.Peers, PeerWeirOpen) {
			if err := r.turn(ctx, GatewayTurn{Peer: PeerWeir, Kind: KindBeside, Conns: conns, Rep: rep, Rate: rate}, limitBeside); err != nil {
				return err
			}
		}
	}
	return nil
}

// turn starts a gateway, measures, and ends it.
func (r *gatewayRun) turn(ctx context.Context, t GatewayTurn, l limit) (err error) {
	at, gateway, err := r.start(ctx, t, l)
	if err != nil {
		return err
	}
	if gateway != nil {
		defer gateway.end()
	}
	url := "http://" + at.String() + "/"
	if t.Kind != KindRefused {
		if _, err := wrkTurn(ctx, r.dir, url, min(t.Conns, warmConns), 1, warmFor); err != nil {
			return err
		}
	}
	var load *Worker
	if t.Kind == KindOpen || t.Kind == KindBeside { // its conns are opened before it is measured
		if load, err = startHTTPLoad(ctx, StartProcess, r.open(at, t)); err != nil {
			return err
		}
		defer load.End()
	}
	before, err := r.cpu(gateway)
	if err != nil {
		return err
	}
	begin := time.Now()
	var beside *GatewayTurn
	switch t.Kind {
	case KindOpen, KindBeside:
		beside, err = t.takeOpen(load)
	case KindAB:
		err = t.takeAB(ctx, url, r.cfg.Duration)
	default:
		err = t.takeWrk(ctx, r.dir, url, r.cfg)
	}
	if err != nil {
		return fmt.Errorf("measure %s: %w", t.Peer, err)
	}
	after, err := r.cpu(gateway)
	if err != nil {
		return err
	}
	t.charge(after.server-before.server, after.upstream-before.upstream, time.Since(begin))
	turns := []GatewayTurn{t}
	if beside != nil {
		beside.MicrosCPU, beside.UpstreamMicros, beside.Cores = t.MicrosCPU, t.UpstreamMicros, t.Cores // of one process
		turns = append(turns, *beside)
	}
	for _, t := range turns {
		r.result.Turns = append(r.result.Turns, t)
		fmt.Fprintln(r.progress, t)
	}
	return nil
}

// start starts a turn's gateway, and says where requests go; it is nil without one.
func (r *gatewayRun) start(ctx context.Context, t GatewayTurn, l limit) (at netip.AddrPort, _ *peerProcess, err error) {
	if t.Peer == PeerDirect {
		return r.upstream, nil, nil
	}
	if at, err = freeAddress(); err != nil {
		return at, nil, err
	}
	admin, err := freeAddress()
	if err != nil {
		return at, nil, err
	}
	if t.Peer == PeerWeirOpen {
		l = limitNone
	}
	gateway, err := startPeer(ctx, runHere, http.DefaultClient, peerConfig{
		peer: t.Peer, listen: at, upstream: r.upstream, limit: l, conns: max(t.Conns, warmConns), workers: r.cfg.Workers, idle: r.cfg.Idle,
		dir: r.dir, keys: r.keys, admin: admin.String(),
	})
	return at, gateway, err
}

// open is what the load of a turn at a fixed rate is told.
func (r *gatewayRun) open(at netip.AddrPort, t GatewayTurn) httpload.Config {
	c := httpload.Config{
		To: at, Target: "/", Conns: t.Conns, PerSecond: t.Rate, Warm: openWarm, Duration: r.cfg.Duration, Timeout: 10 * time.Second, Sources: sources(t.Conns),
	}
	if t.Kind == KindBeside {
		c.Target, c.Beside = besidePath, "/"
	}
	return c
}

// cpuUsed is the CPU time of a gateway and its upstream, seconds.
type cpuUsed struct{ server, upstream float64 }

func (r *gatewayRun) cpu(gateway *peerProcess) (u cpuUsed, err error) {
	if u.upstream, err = r.upProc.cpu(); err != nil || gateway == nil {
		return u, err
	}
	u.server, err = gateway.cpu()
	return u, err
}

// charge sets what the turn cost.
func (t *GatewayTurn) charge(gateway, upstream float64, took time.Duration) {
	n := float64(max(t.charged, 1))
	t.MicrosCPU, t.UpstreamMicros, t.Cores = gateway*1e6/n, upstream*1e6/n, gateway/took.Seconds()
}

func (t *GatewayTurn) takeWrk(ctx context.Context, dir, url string, cfg GatewayConfig) error {
	f, err := wrkTurn(ctx, dir, url, t.Conns, cfg.Threads, cfg.Duration)
	if err != nil {
		return err
	}
	t.Requests, t.charged, t.PerSecond = f.Requests, f.Requests, float64(f.Requests)/(f.Micros/1e6)
	t.P50, t.P99, t.P999, t.Max = f.P50, f.P99, f.P999, f.Max
	failed := map[string]uint64{"connect": f.Connect, "read": f.Read, "write": f.Write, "timeout": f.Timeout}
	if t.Kind != KindRefused {
		failed["status"] = f.Status
		t.fail(failed)
		return nil
	}
	t.fail(failed)
	t.Refused = f.Status
	if t.Refused*100 < t.Requests*99 {
		return fmt.Errorf("%d of %d requests were refused: want all", t.Refused, t.Requests)
	}
	return nil
}

func (t *GatewayTurn) takeAB(ctx context.Context, url string, duration time.Duration) error {
	f, err := abTurn(ctx, url, t.Conns, duration)
	t.Requests, t.charged, t.PerSecond, t.P50, t.P99, t.Max = f.Requests, f.Requests, f.PerSecond, f.P50*1000, f.P99*1000, f.MaxMillis*1000
	t.fail(map[string]uint64{"failed": f.Failed, "status": f.Refused})
	return err
}

// takeOpen has the load keep to its schedule. Of KindBeside there is a second turn, of the route without a quota; what failed is the first one's.
func (t *GatewayTurn) takeOpen(load *Worker) (beside *GatewayTurn, err error) {
	report, err := playHTTPLoad(load)
	if err != nil {
		return nil, err
	}
	t.charged = report.Answered
	if err := t.take(report.Latency, report.Seconds); err != nil {
		return nil, err
	}
	t.fail(map[string]uint64{"status": report.Refused + report.Failed, "lost": report.Lost, "unsent": report.Unsent})
	if t.Kind == KindBeside {
		beside = &GatewayTurn{Peer: PeerWeirOpen, Kind: t.Kind, Conns: t.Conns, Rep: t.Rep, Rate: t.Rate}
		err = beside.take(report.LatencyBeside, report.Seconds)
	}
	return beside, err
}

// take reads the latencies of a load's requests.
func (t *GatewayTurn) take(latency []byte, seconds float64) error {
	hist, err := hdrhistogram.Decode(latency)
	if err != nil {
		return fmt.Errorf("read latencies: %w", err)
	}
	t.Requests = uint64(hist.TotalCount()) //nolint:gosec // a count
	t.PerSecond = float64(t.Requests) / seconds
	micros := func(q float64) float64 { return float64(hist.ValueAtQuantile(q)) / 1000 }
	t.P50, t.P99, t.P999, t.Max = micros(50), micros(99), micros(99.9), float64(hist.Max())/1000
	return nil
}

// fail sets what failed, and how.
func (t *GatewayTurn) fail(how map[string]uint64) {
	t.Failed = more(nil, how)
	for _, n := range how {
		t.Errors += n
	}
}

// String is a line of progress.
func (t GatewayTurn) String() string {
	failed := ""
	if t.Errors > 0 {
		failed = ": " + top(t.Failed)
	}
	return fmt.Sprintf("%-9s %-7s %5d conns  %7.0f req/s  p50 %8.0f  p99 %8.0f  p99.9 %8.0f us  %5.1f us CPU  %d errors%s", t.Peer, t.Kind, t.Conns, t.PerSecond, t.P50, t.P99, t.P999, t.MicrosCPU, t.Errors, failed)
}
