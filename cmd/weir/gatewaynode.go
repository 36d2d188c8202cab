package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"weir/admin"
	"weir/bpf/latency"
	"weir/cmd/weir/config"
	"weir/gateway"
	"weir/gateway/trace"
	"weir/gateway/way"
	"weir/ratelimit/redis"
	"weir/token/jwks"

	"github.com/prometheus/client_golang/prometheus"
)

// gatewayNode is the gateway with its admin page and its quotas in XDP.
type gatewayNode struct {
	cfg      *config.Config
	log      *slog.Logger
	started  time.Time
	read     func() (*config.Plan, error)
	environ  []string
	keys     *jwks.Set  // nil without a JWK set
	cuts     *escalator // nil if nobody is to be escalated
	binder   *binder
	server   *gateway.Server
	guard    *guard
	admin    *admin.Server
	registry *prometheus.Registry
	drift    *drift
	top      *gatewayTop

	service       *service
	adminListener net.Listener // nil to listen at admin.listen

	traces    *latency.Export // nil without trace.tracers
	accessLog *accessLog
	tracer    *trace.Tracer
	redis     redis.Metrics

	reloading sync.Mutex
}

func newGatewayNode(_ context.Context, cfg *config.Config, read func() (*config.Plan, error), log *slog.Logger, a *app) (_ *gatewayNode, err error) {
	n := &gatewayNode{cfg: cfg, log: log, started: time.Now(), read: read, environ: a.environ, binder: &binder{}, registry: prometheus.NewRegistry(), drift: newDrift(log)}
	if cfg.Gateway.Way == gateway.WayLoops {
		makeRoom(cfg.Gateway.Defaults().Loops, a.environ)
	}
	if n.keys, err = newKeySet(&cfg.Auth, log); err != nil {
		return nil, err
	}
	if n.cuts, err = newEscalator(cfg.Gateway.Escalate, log); err != nil {
		return nil, err
	}
	plan, err := n.plan()
	if err != nil {
		return nil, err
	}
	deps := gateway.Deps{Hooks: way.Hooks{Decided: n.cuts.decided, Bind: n.binder.Bind, Unbind: n.binder.Unbind}}
	if n.accessLog, err = openAccessLog(cfg.Gateway, a.stdout, log); err != nil {
		return nil, err
	}
	if n.accessLog != nil {
		deps.Log = n.accessLog.Log
	}
	if n.tracer, err = newTracer(cfg.Gateway); err != nil {
		return nil, err
	}
	deps.Trace = n.tracer
	if n.top, err = newGatewayTop(n.started); err != nil {
		return nil, err
	}
	deps.Hooks.Observe = n.top.observe
	if n.traces, err = newTraces(cfg.Trace, itself, log); err != nil {
		return nil, err
	}
	if n.server, err = gateway.New(cfg.Gateway.Config, *plan, deps, log); err != nil {
		return nil, err
	}
	n.guard = &guard{off: "the gateway has not started"}
	return n, nil
}

// plan reads the plan, with the store of what it shares.
func (n *gatewayNode) plan() (*gateway.Plan, error) {
	p, err := n.read()
	if err != nil {
		return nil, err
	}
	tokens, err := newVerifier(&n.cfg.Auth, n.keys, p.Rules.ClaimNames())
	if err != nil {
		return nil, err
	}
	if tokens != nil { // a nil one in an interface is none
		p.Tokens = tokens
	}
	withStore(n.cfg.Gateway.Redis, p, &n.redis)
	return &p.Plan, nil
}

// Reload reads the plan again.
func (n *gatewayNode) Reload(ctx context.Context) error {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	plan, err := n.plan()
	if err == nil {
		err = n.server.Reload(ctx, *plan)
	} else {
		n.server.Rejected()
	}
	if err != nil {
		n.log.Error("the routes stay as they were", "err", err)
		return err
	}
	n.log.Info("routes read again", "routes", len(plan.Rules.Routes), "policies", len(plan.Rules.Policies), "upstreams", len(plan.Upstreams), "rls_domains", len(plan.RLS.Domains))
	return nil
}

// run serves until ctx ends or a part fails; ready is called when all serve.
func (n *gatewayNode) run(ctx context.Context, ready func()) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	behind, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	if n.guard, err = newGuard(n.cfg.XDP, "", nil, n.log, n.environ); err != nil {
		return err
	}
	defer n.guard.close()
	if n.guard.on() {
		n.binder.agent.Store(n.guard.agent)
		if n.cuts != nil {
			n.cuts.agent.Store(n.guard.agent)
		}
	}
	if err := n.newAdmin(); err != nil {
		return err
	}
	part := func(f func(context.Context) error) {
		running.Go(func() {
			if err := f(behind); err != nil {
				cancel(err)
			}
		})
	}
	part(n.guard.run)
	part(n.cuts.run)
	part(n.drift.run)
	if n.keys != nil {
		part(n.keys.Run)
	}
	part(n.admin.Run)
	if n.traces != nil {
		n.traces.Open()
		part(n.traces.Run)
	}
	if n.accessLog != nil {
		running.Go(func() { n.accessLog.run(behind) })
	}
	if n.tracer != nil {
		running.Go(func() { watchTracer(behind, n.tracer, n.log) })
	}
	running.Go(func() { n.watch(behind) })
	if n.service != nil {
		running.Go(func() { n.service.watch(behind, n.server.Alive) })
		defer context.AfterFunc(ctx, func() { n.service.tell(n.service.Stopping("lets requests end")) })()
	}
	running.Go(func() {
		for _, c := range []<-chan struct{}{n.server.Ready(), n.admin.Ready()} {
			select {
			case <-c:
			case <-ctx.Done():
				return
			}
		}
		n.guard.refresh()
		ready()
	})
	if err := n.server.Run(ctx); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (n *gatewayNode) newAdmin() (err error) {
	if n.keys != nil {
		n.registry.MustRegister(n.keys)
	}
	n.registry.MustRegister(append(besides(n.drift, n.traces), n.server, &n.redis, n.guard)...)
	deps := admin.Deps{
		QuotasOff: n.guard.off,
		Why: func(context.Context, string) (any, error) {
			return nil, errors.New("a gateway holds no subscriptions: ask an edge, by --admin")
		},
		Numbers:  n.numbers,
		Ready:    n.unready,
		Gatherer: n.registry,
		Gateway:  n,
		Listener: n.adminListener,
	}
	if n.guard.on() {
		deps.Quotas = n.guard
	}
	if n.admin, err = admin.New(n.cfg.Admin, deps, n.log); err != nil {
		return err
	}
	n.registry.MustRegister(n.admin)
	return nil
}

func (n *gatewayNode) unready() error {
	select {
	case <-n.server.Ready():
		return n.keys.Ready()
	default:
		return errors.New("the gateway does not serve yet")
	}
}

func (n *gatewayNode) numbers() admin.Numbers {
	out := admin.Numbers{
		Version: version(), UptimeSeconds: time.Since(n.started).Seconds(),
		Conns: n.server.Conns(), Closed: map[string]uint64{}, Dropped: map[string]uint64{}, XDP: n.guard.describe(),
	}
	n.guard.numbers(&out)
	return out
}

// Explain implements [admin.Gateway].
func (n *gatewayNode) Explain(client string) (any, error) {
	addr, identity, err := parseClient(client)
	if err != nil {
		return nil, err
	}
	return n.server.Explain(addr, identity), nil
}

// Show implements [admin.Gateway].
func (n *gatewayNode) Show() any { return n.server.Show() }

// watch reads the plan again at SIGHUP, which has the access log opened anew too, and when its file changes, until ctx ends.
func (n *gatewayNode) watch(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	t := time.NewTicker(lookAtRoutes)
	defer t.Stop()
	seen := statOf(n.cfg.Gateway.Routes)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			seen = statOf(n.cfg.Gateway.Routes)
			n.hangUp(ctx)
			continue
		case <-t.C:
			now := statOf(n.cfg.Gateway.Routes)
			if now == seen || now == (fileState{}) {
				continue
			}
			seen = now
		}
		_ = n.Reload(ctx) // it is logged
	}
}

// hangUp opens the access log anew and reads the plan again, as SIGHUP asks for.
func (n *gatewayNode) hangUp(ctx context.Context) {
	if n.service != nil {
		n.service.tell(n.service.Reloading())
		defer func() { n.service.tell(n.service.Ready(n.status())) }()
	}
	if err := n.accessLog.reopen(); err != nil {
		n.log.Error("the access log is written where it was", "err", err)
	}
	_ = n.Reload(ctx) // it is logged
}

// lookAtRoutes is how often the file of routes is looked at.
const lookAtRoutes = time.Second

// fileState tells one version of a file from another.
type fileState struct {
	size    int64
	changed time.Time
}

func statOf(path string) fileState {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}
	}
	return fileState{info.Size(), info.ModTime()}
}

// status is the gateway's state in a line.
func (n *gatewayNode) status() string {
	var at []string
	for _, a := range []net.Addr{n.server.Addr(), n.server.TLSAddr()} {
		if where := reachable(a); where != "" {
			at = append(at, where)
		}
	}
	return "serves " + strings.Join(at, " ") + ", quotas in XDP: " + n.guard.describe()
}

// screen says where everything is.
func (n *gatewayNode) screen() string {
	adminAt, at := reachable(n.admin.Addr()), reachable(n.server.Addr())
	lines := fmt.Sprintf("\n  weir %s serves as gateway\n\n", version())
	add := func(name, text string) { lines += fmt.Sprintf("  %-10s %s\n", name, text) }
	if at != "" {
		add("gateway", "http://"+at+"/")
	}
	if tlsAt := reachable(n.server.TLSAddr()); tlsAt != "" {
		add("", "https://"+tlsAt+"/")
	}
	if rlsAt := reachable(n.server.RLSAddr()); rlsAt != "" {
		add("Envoy", "grpc://"+rlsAt)
	}
	add("admin", "http://"+adminAt+"/")
	add("XDP", n.guard.describe())
	add("state", "curl http://"+adminAt+"/api/gateway")
	if n.cfg.Gateway.Routes != "" {
		add("reload", "kill -HUP "+fmt.Sprint(os.Getpid())+", or change "+n.cfg.Gateway.Routes)
	}
	add("stop", "Ctrl-C")
	return lines + "\n"
}
