package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"weir/admin"
	"weir/bench/feed"
	"weir/broker"
	"weir/broker/bus"
	"weir/broker/region"
	"weir/cmd/weir/config"
	"weir/edge"
	"weir/ratelimit/kernel"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// node is the parts of weir that run in a process, by its role.
type node struct {
	role     role
	cfg      *config.Config
	log      *slog.Logger
	started  time.Time
	bus      *bus.Bus
	link     *bus.Link    // nil without an edge, as are
	region   *region.Node // this
	edge     *edge.Server // and this
	admin    *admin.Server
	guard    *guard
	feed     *feed.Ticks
	numbers  *numbers
	registry *prometheus.Registry
}

// newNode starts or joins the bus and loads the quotas; nothing serves before run. cfg is one that
// role.apply took.
func newNode(ctx context.Context, r role, cfg *config.Config, log *slog.Logger, environ []string) (*node, error) {
	n := &node{role: r, cfg: cfg, log: log, started: time.Now(), registry: prometheus.NewRegistry()}
	if err := n.build(ctx, environ); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *node) build(ctx context.Context, environ []string) (err error) {
	if n.bus, err = bus.Open(ctx, n.cfg.Bus, n.log); err != nil {
		return err
	}
	n.guard = &guard{off: "weir broker has no quotas, its edges have"}
	if n.role.hasEdge() {
		if err = n.buildEdge(ctx, environ); err != nil {
			return err
		}
	}
	n.numbers = &numbers{node: n}
	deps := admin.Deps{
		Publisher: publisher{n.bus},
		QuotasOff: n.guard.off,
		Why:       n.why,
		Numbers:   n.numbers.now,
		Ready:     n.ready,
		Gatherer:  n.registry,
	}
	if n.guard.on() {
		deps.Quotas = n.guard
	}
	if n.admin, err = admin.New(n.cfg.Admin, deps, n.log); err != nil {
		return err
	}
	n.registry.MustRegister(n.bus, n.admin, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return nil
}

// buildEdge makes what clients connect to, and its quotas.
func (n *node) buildEdge(ctx context.Context, environ []string) (err error) {
	if n.link, err = n.bus.NewLink(); err != nil {
		return err
	}
	n.region = region.New(n.link, n.log)
	if n.edge, err = edge.New(n.cfg.Edge, n.region, n.log); err != nil {
		return err
	}
	if n.guard, err = newGuard(n.cfg.XDP, n.cfg.Bus.Listen, n.brokers(ctx), n.log, environ); err != nil {
		return err
	}
	n.registry.MustRegister(n.region, n.edge, n.guard)
	return nil
}

// brokers are the addresses of the node's brokers: no quota may cut off the bus.
func (n *node) brokers(ctx context.Context) (all []kernel.Peer) {
	for _, s := range n.cfg.Bus.Servers {
		host, _, _ := net.SplitHostPort(strings.TrimPrefix(s, "nats://")) // bus.Config has checked it
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			n.log.Warn("the broker's address is not known: quotas hold for it too, unless xdp.allow names it", "bus", s, "err", err)
		}
		for _, a := range found {
			all = append(all, kernel.Peer{Addr: a.WithZone("").Unmap(), Why: "the broker"})
		}
	}
	return all
}

func (n *node) why(ctx context.Context, client string) (any, error) {
	if n.edge == nil {
		return nil, errors.New("no client connects to a broker: ask an edge, by --admin")
	}
	return n.edge.Why(ctx, client)
}

// run serves until ctx ends or a part fails; ready is called when all serve.
func (n *node) run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The edge ends first: it drains while its events still come.
	behind, stopBehind := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBehind()
	var wg sync.WaitGroup
	serve := func(ctx context.Context, part func(context.Context) error) {
		wg.Go(func() {
			if err := part(ctx); err != nil {
				cancel(err)
			}
		})
	}
	serve(behind, n.admin.Run)
	serve(behind, n.watchBus)
	serve(behind, n.guard.run)
	if n.edge != nil {
		serve(behind, func(ctx context.Context) error { return n.region.Run(ctx, n.edge) })
	}
	serve(ctx, func(ctx context.Context) error {
		defer stopBehind()
		if n.edge == nil {
			<-ctx.Done()
			return nil
		}
		return n.edge.Run(ctx)
	})
	if n.feed != nil {
		serve(ctx, func(ctx context.Context) error { return n.feed.Run(ctx, n.feedOne) })
	}
	wg.Go(func() {
		for _, part := range n.parts() {
			select {
			case <-part.ready:
			case <-ctx.Done():
				return
			}
		}
		n.guard.refresh()
		ready()
	})
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (n *node) watchBus(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-n.bus.Failed():
		return fmt.Errorf("the bus stopped: %w", err)
	}
}

func (n *node) feedOne(ctx context.Context, topic string, data []byte) error {
	t, err := broker.ParseTopic(topic)
	if err == nil {
		_, err = n.bus.Publish(ctx, t, data, bus.PublishOptions{})
	}
	if err != nil && ctx.Err() != nil {
		return nil // it was on its way at the end
	}
	return err
}

// part is one that says when it serves.
type part struct {
	name  string
	ready <-chan struct{}
}

func (n *node) parts() []part {
	all := []part{{"admin", n.admin.Ready()}}
	if n.edge != nil {
		all = append(all, part{"edge", n.edge.Ready()})
	}
	return all
}

func (n *node) ready() error {
	for _, p := range n.parts() {
		select {
		case <-p.ready:
		default:
			return fmt.Errorf("the %s does not serve yet", p.name)
		}
	}
	return n.bus.Up()
}

// close gives up what newNode took, in reverse.
func (n *node) close() {
	if n.guard != nil {
		n.guard.close()
	}
	if n.link != nil {
		n.link.Close()
	}
	if n.bus != nil {
		n.bus.Close()
	}
}

// screen says where everything is.
func (n *node) screen() string {
	adminAt := reachable(n.admin.Addr())
	topic := "news"
	if n.feed != nil {
		topic = "ticks.EURUSD"
	}
	var lines [][2]string
	add := func(name, text string) { lines = append(lines, [2]string{name, text}) }
	if n.edge != nil {
		edgeAt := reachable(n.edge.Addr())
		add("edge", "ws://"+edgeAt+"/ws/{topic}   http://"+edgeAt+"/sse/{topic}")
	}
	add("admin", "http://"+adminAt+"/")
	if at := n.bus.ListenAddr(); at != nil {
		add("bus", "nats://"+reachable(at))
	}
	add("events", n.storage())
	if n.edge != nil {
		edgeAt := reachable(n.edge.Addr())
		add("XDP", n.guard.describe())
		add("subscribe", "weir subscribe --url ws://"+edgeAt+" "+topic)
		add("", "curl -N http://"+edgeAt+"/sse/"+topic)
	}
	add("publish", "weir publish --admin http://"+adminAt+" news hello")
	add("", `curl http://`+adminAt+`/api/publish -d '{"channel":"news","data":"hello"}'`)
	add("stop", "Ctrl-C")
	var b strings.Builder
	what := "serves"
	if n.role != roleServe {
		what = "serves as " + string(n.role)
	}
	fmt.Fprintf(&b, "\n  weir %s %s\n\n", version(), what)
	for _, line := range lines {
		fmt.Fprintf(&b, "  %-10s %s\n", line[0], line[1])
	}
	return b.String() + "\n"
}

// storage says where events are kept.
func (n *node) storage() string {
	switch {
	case n.bus.Remote():
		if err := n.bus.Up(); err != nil {
			return err.Error()
		}
		return "at the broker, " + strings.Join(n.cfg.Bus.Servers, " ")
	case n.cfg.Bus.Dir != "":
		return "in " + n.cfg.Bus.Dir
	}
	return "in memory (--data DIR keeps events across restarts)"
}

// reachable is an address as a client on this host writes it.
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return ""
	}
	if tcp.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	return tcp.String()
}

// publisher is the bus as the admin server wants it.
type publisher struct{ bus *bus.Bus }

func (p publisher) Publish(ctx context.Context, t broker.Topic, data []byte, key, idempotencyKey string) (broker.Position, error) {
	return p.bus.Publish(ctx, t, data, bus.PublishOptions{Key: key, IdempotencyKey: idempotencyKey})
}
