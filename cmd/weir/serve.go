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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

type serveCmd struct {
	Config      string `help:"Configuration file (YAML)." placeholder:"FILE" type:"path"`
	Data        string `help:"Keep events in this directory, across restarts." placeholder:"DIR"`
	Listen      string `help:"Address of the edge." placeholder:"HOST:PORT"`
	Admin       string `help:"Address of the admin page and API." placeholder:"HOST:PORT"`
	APIKey      string `help:"Key that the admin API asks for." name:"api-key" placeholder:"KEY"`
	NATS        string `help:"Address for NATS clients." name:"nats" placeholder:"HOST:PORT"`
	Feed        string `help:"Publish made-up events: ticks." placeholder:"NAME"`
	Echo        bool   `help:"Open /echo, for conformance suites."`
	XDP         string `help:"Quotas in XDP: auto, on or off." name:"xdp" placeholder:"WHEN"`
	Interface   string `help:"Network interface they guard." placeholder:"NAME"`
	LogLevel    string `help:"debug, info, warn or error." placeholder:"LEVEL"`
	PrintConfig bool   `help:"Print the configuration with every key and what it means, and exit."`
}

// Help is printed below the flags.
func (*serveCmd) Help() string {
	return `Examples:
  weir serve --feed ticks             try it out, with made-up prices
  weir serve --config weir.yaml       run by a file; --print-config writes one to start from
  weir serve --data /var/lib/weir     keep events across restarts

Every key of the file is also a variable: WEIR_EDGE_LISTEN for edge.listen. Flags win.`
}

// load is the configuration of file, environment and flags.
func (c *serveCmd) load(environ []string) (*config.Config, error) {
	for _, f := range []struct{ name, value string }{
		{"BUS_DATA", c.Data},
		{"EDGE_LISTEN", c.Listen},
		{"ADMIN_LISTEN", c.Admin},
		{"ADMIN_API_KEY", c.APIKey},
		{"BUS_LISTEN", c.NATS},
		{"XDP_ENABLED", c.XDP},
		{"XDP_INTERFACE", c.Interface},
		{"LOG_LEVEL", c.LogLevel},
	} {
		if f.value != "" {
			environ = append(environ, "WEIR_"+f.name+"="+f.value) // the last one of a name wins
		}
	}
	if c.Echo {
		environ = append(environ, "WEIR_EDGE_ECHO=true")
	}
	if c.Feed != "" && c.Feed != "ticks" {
		return nil, &usageError{fmt.Errorf("--feed %s is not known: there is ticks", c.Feed)}
	}
	return config.Load(c.Config, environ)
}

// Run serves until the context ends.
func (c *serveCmd) Run(ctx context.Context, a *app) error {
	cfg, err := c.load(a.environ)
	if err != nil {
		return err
	}
	if c.PrintConfig {
		fmt.Fprint(a.stdout, cfg.Print())
		return nil
	}
	log := newLogger(a, cfg.Log)
	for _, w := range cfg.Warnings {
		log.Warn("environment", "text", w)
	}
	n, err := newNode(ctx, cfg, log, a.environ)
	if err != nil {
		return err
	}
	defer n.close()
	if c.Feed != "" {
		n.feed = feed.NewTicks(feed.TicksConfig{})
	}
	return n.run(ctx, func() { fmt.Fprint(a.stderr, n.screen()) })
}

func newLogger(a *app, cfg config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil { // config let only levels through
		panic(err)
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, opts))
	}
	return slog.New(slog.NewTextHandler(a.stderr, opts))
}

// node is all roles in one process.
type node struct {
	cfg      *config.Config
	log      *slog.Logger
	started  time.Time
	bus      *bus.Bus
	link     *bus.Link
	region   *region.Node
	edge     *edge.Server
	admin    *admin.Server
	guard    *guard
	feed     *feed.Ticks
	numbers  *numbers
	registry *prometheus.Registry
}

// newNode starts the bus and loads the quotas; nothing serves before run.
func newNode(ctx context.Context, cfg *config.Config, log *slog.Logger, environ []string) (*node, error) {
	n := &node{cfg: cfg, log: log, started: time.Now(), registry: prometheus.NewRegistry()}
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
	if n.link, err = n.bus.NewLink(); err != nil {
		return err
	}
	n.region = region.New(n.link, n.log)
	if n.edge, err = edge.New(n.cfg.Edge, n.region, n.log); err != nil {
		return err
	}
	if n.guard, err = newGuard(n.cfg.XDP, n.cfg.Bus.Listen, n.log, environ); err != nil {
		return err
	}
	n.numbers = &numbers{node: n}
	deps := admin.Deps{
		Publisher: publisher{n.bus},
		QuotasOff: n.guard.off,
		Why:       func(ctx context.Context, client string) (any, error) { return n.edge.Why(ctx, client) },
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
	n.registry.MustRegister(n.bus, n.region, n.edge, n.admin, n.guard, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return nil
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
	serve(behind, func(ctx context.Context) error { return n.region.Run(ctx, n.edge) })
	serve(behind, n.admin.Run)
	serve(behind, n.watchBus)
	serve(behind, n.guard.run)
	serve(ctx, func(ctx context.Context) error {
		defer stopBehind()
		return n.edge.Run(ctx)
	})
	if n.feed != nil {
		serve(ctx, func(ctx context.Context) error { return n.feed.Run(ctx, n.feedOne) })
	}
	wg.Go(func() {
		for _, part := range []<-chan struct{}{n.edge.Ready(), n.admin.Ready()} {
			select {
			case <-part:
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

func (n *node) ready() error {
	for _, part := range []struct {
		name string
		is   <-chan struct{}
	}{{"edge", n.edge.Ready()}, {"admin", n.admin.Ready()}} {
		select {
		case <-part.is:
		default:
			return fmt.Errorf("the %s does not serve yet", part.name)
		}
	}
	return nil
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
	edgeAt, adminAt := reachable(n.edge.Addr()), reachable(n.admin.Addr())
	topic := "news"
	if n.feed != nil {
		topic = "ticks.EURUSD"
	}
	storage := "in memory (--data DIR keeps events across restarts)"
	if n.cfg.Bus.Dir != "" {
		storage = "in " + n.cfg.Bus.Dir
	}
	tlsURLs, tlsAt := "", reachable(n.edge.TLSAddr())
	if tlsAt != "" {
		tlsURLs = "wss://" + tlsAt + "/ws/{topic}  https://" + tlsAt + "/sse/{topic}"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n  weir %s serves\n\n", version())
	for _, line := range [][2]string{
		{"edge", "ws://" + edgeAt + "/ws/{topic}   http://" + edgeAt + "/sse/{topic}"},
		{"", tlsURLs},
		{"admin", "http://" + adminAt + "/"},
		{"events", storage},
		{"XDP", n.guard.describe()},
		{"subscribe", "weir subscribe --url ws://" + edgeAt + " " + topic},
		{"", "curl -N http://" + edgeAt + "/sse/" + topic},
		{"publish", "weir publish --admin http://" + adminAt + " news hello"},
		{"", `curl http://` + adminAt + `/api/publish -d '{"channel":"news","data":"hello"}'`},
		{"stop", "Ctrl-C"},
	} {
		if line[1] != "" {
			fmt.Fprintf(&b, "  %-10s %s\n", line[0], line[1])
		}
	}
	return b.String() + "\n"
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
