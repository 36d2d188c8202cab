package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/bench/feed"
	"weir/bpf/latency"
	"weir/broker"
	"weir/broker/bus"
	"weir/broker/region"
	"weir/cmd/weir/config"
	"weir/edge"
	"weir/edge/loop"
	"weir/edge/workers"
	"weir/ratelimit/kernel"
	"weir/token"
	"weir/token/jwks"
)

// node is the parts of weir that run in a process, by its role.
type node struct {
	role    role
	cfg     *config.Config
	log     *slog.Logger
	environ []string
	started time.Time
	bus     *bus.Bus
	link    *bus.Link       // nil without an edge in this process, as are
	region  *region.Node    // this
	source  *source         // and this
	edge    *edge.Server    // and this
	binder  *binder         // nil without an edge in this process
	tokens  *token.Verifier // nil without keys
	keys    *jwks.Set       // nil without a JWK set
	workers *workers.Group
	front   front           // edge or workers, nil without either
	traces  *latency.Export // nil without trace.tracers
	stderr  io.Writer
	feed    *feed.Ticks
	numbers *numbers
	service *service // nil in a worker
	// adminListener is served by the admin server instead of its own; nil for none.
	adminListener net.Listener
	tenure        atomic.Pointer[tenure] // nil while another process has it
	running       sync.WaitGroup         // what serves the edge

	// takeover has the node go on with what another process serves, which ends then.
	takeover bool
	// loaded are quotas that are not attached: in a taker until it is their turn, in a giver until the takeover has succeeded.
	loaded *guard
	behind context.Context //nolint:containedctx // what serves the edge ends with it, after the edge
	fail   func(error)     // ends the node
}

// front is what clients connect to.
type front interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
	Addr() net.Addr
	TLSAddr() net.Addr
	Why(ctx context.Context, client string) ([]edge.ConnReport, error)
	Stats() edge.Stats
}

// newNode starts or joins the bus, unless it is to be taken over; nothing serves before run. cfg is one
// that role.apply took.
func newNode(ctx context.Context, r role, cfg *config.Config, log *slog.Logger, environ []string, takeover bool) (*node, error) {
	n := &node{role: r, cfg: cfg, log: log, environ: environ, started: time.Now(), takeover: takeover}
	n.numbers = &numbers{node: n}
	if err := n.build(ctx); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// besideLoops is how many threads may run Go code beside the event loops. A loop that sweeps gives up its
// own for milliseconds at a time: the bus and the API must not wait for it, so the system shares the CPUs.
const besideLoops = 2

// gcPercent is how much garbage there may be beside what lives, in percent: an edge makes little, and what
// there was once while conns come and go stays in holes between those that live.
const gcPercent = 50

// makeRoom lets the rest of the process run while all loops do, unless the operator has said how many
// threads there are to be; and keeps garbage down, likewise.
func makeRoom(loops int, environ []string) {
	said := func(name string) bool {
		return slices.ContainsFunc(environ, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
	}
	if n := loops + besideLoops; n > runtime.GOMAXPROCS(0) && !said("GOMAXPROCS") {
		runtime.GOMAXPROCS(n)
	}
	if !said("GOGC") {
		debug.SetGCPercent(gcPercent)
	}
}

func (n *node) build(ctx context.Context) (err error) {
	if n.tokens, n.keys, err = newTokens(&n.cfg.Auth, n.log); err != nil {
		return err
	}
	switch {
	case n.role.hasEdge() && n.cfg.Workers.Workers > 0:
		if n.workers, err = n.newWorkers(); err != nil {
			return err
		}
		n.front = n.workers
	case n.role.hasEdge():
		n.source = &source{}
		n.cfg.Edge.Loops = n.cfg.Edge.Defaults().Loops // one a CPU, not one a thread
		makeRoom(n.cfg.Edge.Loops, n.environ)
		n.cfg.Edge.Tokens = n.tokens
		n.binder = &binder{}
		n.cfg.Edge.Binder = n.binder
		if n.edge, err = edge.New(n.cfg.Edge, n.source, n.log); err != nil {
			return err
		}
		n.front = n.edge
		n.edge.SetHooks(edge.Hooks{May: n.mayRelease, Release: n.release, Regain: n.regain, Acquire: n.acquire, Handed: n.handed})
	}
	pids := itself
	if n.workers != nil {
		pids = n.workers.PIDs
	}
	if n.traces, err = newTraces(n.cfg.Trace, pids, n.log); err != nil {
		return err
	}
	if n.takeover && n.role != roleEdge {
		return nil
	}
	return n.openBus(ctx)
}

// openBus starts or joins the bus, and serves the edge from it.
func (n *node) openBus(ctx context.Context) (err error) {
	if n.bus, err = bus.Open(ctx, n.cfg.Bus, n.log); err != nil || n.edge == nil {
		return err
	}
	if n.link, err = n.bus.NewLink(); err != nil {
		return err
	}
	n.region = region.New(n.link, n.log)
	n.source.at.Store(n.region)
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
	return append(all, n.workersPeers()...)
}

// run serves until ctx ends, a part fails or another process has taken over; ready is called when all
// serve.
func (n *node) run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The edge ends first: it drains while its events still come.
	behind, stopBehind := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBehind()
	n.behind, n.fail = behind, func(err error) { cancel(err) }
	n.running.Go(func() {
		if err := n.keys.Run(behind); err != nil {
			n.fail(err)
		}
	})
	n.manage(ctx, behind)
	err := n.serve(ctx, ready)
	stopBehind()
	cancel(nil)
	n.endTenure()
	n.running.Wait()
	if err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// serve returns when the edge has ended, or without one ctx.
func (n *node) serve(ctx context.Context, ready func()) error {
	if n.takeover {
		n.loadAhead(ctx)
		if err := n.edge.TakeOver(ctx); err != nil {
			return err
		}
	} else if err := n.acquire(ctx); err != nil {
		return err
	}
	if n.front == nil {
		ready()
		<-ctx.Done()
		return nil
	}
	n.running.Go(func() {
		select {
		case <-n.front.Ready():
			ready()
		case <-ctx.Done():
		}
	})
	return n.front.Run(ctx)
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

// ready says why the node cannot serve; nil if it can.
func (n *node) ready() error {
	if n.front != nil {
		select {
		case <-n.front.Ready():
		default:
			return errors.New("the edge does not serve yet")
		}
	}
	if n.workers != nil {
		if err := n.workers.Unready(context.Background()); err != nil {
			return err
		}
	}
	if n.edge != nil { // else they are for publishers alone
		if err := n.keys.Ready(); err != nil {
			return err
		}
	}
	return n.bus.Up()
}

// close gives up what newNode took, in reverse.
func (n *node) close() {
	n.unload()
	if n.link != nil {
		n.link.Close()
	}
	if n.bus != nil {
		n.bus.Close()
	}
}

// manage tells the service manager, if there is one, that the node lives, until behind ends, and that it stops when ctx does.
func (n *node) manage(ctx, behind context.Context) {
	if n.service == nil {
		return
	}
	n.running.Go(func() { n.service.watch(behind, n.alive) })
	n.running.Go(func() {
		select {
		case <-ctx.Done():
			n.service.tell(n.service.Stopping("closes connections"))
		case <-behind.Done():
		}
	})
}

// alive says what of the process does not answer by the end of ctx. Workers are looked after by their group.
func (n *node) alive(ctx context.Context) error {
	if n.edge == nil {
		return nil
	}
	return n.edge.Alive(ctx)
}

// handed has another process be the service.
func (n *node) handed(pid int) {
	n.unload()
	if n.service != nil {
		n.service.handed(pid)
	}
}

// later is what the node does once it serves.
func (n *node) later() later {
	t := n.tenure.Load()
	return later{
		takesBack: n.edge != nil && n.cfg.Edge.Takeover != loop.TakeoverOff,
		quotas:    n.role != roleWorker && (t == nil || t.guard.on()), // they are away in a takeover that may fail
		traces:    n.traces != nil,
		workers:   n.workers != nil,
	}
}

// status is the node's state in a line.
func (n *node) status() string {
	t := n.tenure.Load()
	switch {
	case t == nil:
		return ""
	case n.front == nil:
		return "serves edges at " + reachable(n.bus.ListenAddr())
	}
	return "serves " + n.front.Addr().String() + ", quotas in XDP: " + t.guard.describe()
}

// screen says where everything is.
func (n *node) screen() string {
	t := n.tenure.Load()
	if t == nil { // gone already
		return ""
	}
	adminAt := reachable(t.admin.Addr())
	topic := "news"
	if n.feed != nil {
		topic = "ticks.EURUSD"
	}
	var lines [][2]string
	add := func(name, text string) { lines = append(lines, [2]string{name, text}) }
	if n.front != nil {
		edgeAt := reachable(n.front.Addr())
		add("edge", "ws://"+edgeAt+"/ws/{topic}   http://"+edgeAt+"/sse/{topic}")
		if tlsAt := reachable(n.front.TLSAddr()); tlsAt != "" {
			add("", "wss://"+tlsAt+"/ws/{topic}  https://"+tlsAt+"/sse/{topic}")
		}
	}
	add("admin", "http://"+adminAt+"/")
	if at := n.bus.ListenAddr(); at != nil && !n.cfg.Bus.NoGuests {
		add("bus", "nats://"+reachable(at))
	}
	add("events", n.storage())
	if n.front != nil {
		edgeAt := reachable(n.front.Addr())
		add("XDP", t.guard.describe())
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
