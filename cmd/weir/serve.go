package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"weir/bench/feed"
	"weir/cmd/weir/config"
)

// nodeFlags are the flags of every role.
type nodeFlags struct {
	Config      string `help:"Configuration file (YAML); one may do for all roles." placeholder:"FILE" type:"path"`
	Admin       string `help:"Address of the admin page and API." placeholder:"HOST:PORT"`
	APIKey      string `help:"Key that the admin API asks for." name:"api-key" placeholder:"KEY"`
	LogLevel    string `help:"debug, info, warn or error." placeholder:"LEVEL"`
	PrintConfig bool   `help:"Print the configuration with every key and what it means, and exit."`
}

// busFlags are those of a role with a bus of its own.
type busFlags struct {
	Data string `help:"Keep events in this directory, across restarts." placeholder:"DIR"`
	NATS string `help:"Address for edges and NATS clients." name:"nats" placeholder:"HOST:PORT"`
}

// edgeFlags are those of a role that clients connect to.
type edgeFlags struct {
	Listen     string `help:"Address of the edge." placeholder:"HOST:PORT"`
	Echo       bool   `help:"Open /echo, for conformance suites."`
	XDP        string `help:"Quotas in XDP: auto, on or off." name:"xdp" placeholder:"WHEN"`
	Interface  string `help:"Network interface they guard." placeholder:"NAME"`
	Takeover   bool   `help:"Go on with the connections of the weir that serves there, which ends then."`
	Background bool   `help:"With --takeover: return when it serves, and leave it in the background, as systemctl reload does."`
	ReadyFD    int    `name:"ready-fd" hidden:""`
	Orphan     bool   `hidden:""`
	Workers    *int   `help:"Processes that serve the edge, where one's descriptors do not do." placeholder:"N"`
}

type serveCmd struct {
	nodeFlags
	busFlags
	edgeFlags
	Feed string `help:"Publish made-up events: ticks." placeholder:"NAME"`
}

// Help is printed below the flags.
func (*serveCmd) Help() string {
	return `Examples:
  weir serve --feed ticks             try it out, with made-up prices
  weir serve --config weir.yaml       run by a file; --print-config writes one to start from
  weir serve --data /var/lib/weir     keep events across restarts
  weir serve --data /var/lib/weir --takeover    a new release goes on where this one is
  weir serve --workers 4              connections on four processes, each with descriptors of its own

Every key of the file is also a variable: WEIR_EDGE_LISTEN for edge.listen. Flags win.
On several hosts: see weir broker --help and weir edge --help.`
}

// Run serves until the context ends.
func (c *serveCmd) Run(ctx context.Context, a *app) error {
	if c.Feed != "" && c.Feed != "ticks" {
		return &usageError{fmt.Errorf("--feed %s is not known: there is ticks", c.Feed)}
	}
	return c.run(ctx, a, roleServe, append(c.busSettings(), c.edgeSettings()...), &c.edgeFlags, func(n *node) {
		if c.Feed != "" {
			n.feed = feed.NewTicks(feed.TicksConfig{})
		}
	})
}

type brokerCmd struct {
	nodeFlags
	busFlags
}

// Help is printed below the flags.
func (*brokerCmd) Help() string {
	return `Examples:
  weir broker --data /var/lib/weir                         edges of this host, on 127.0.0.1:4222
  WEIR_BUS_SECRET=… weir broker --nats 10.0.0.5:4222       edges of others, which have the secret too
  weir broker --config weir.yaml

Edges are let in by bus.secret (or bus.secret_file, or WEIR_BUS_SECRET; openssl rand -hex 24 makes
one). Whoever else reaches the address may publish and read live events: keep it in your own network.`
}

// Run serves until the context ends.
func (c *brokerCmd) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, roleBroker, c.busSettings(), &edgeFlags{}, nil)
}

type edgeCmd struct {
	nodeFlags
	edgeFlags
	Bus []string `help:"Address of the broker; repeat it for others." name:"bus" placeholder:"nats://HOST:PORT"`
}

// Help is printed below the flags.
func (*edgeCmd) Help() string {
	return `Examples:
  WEIR_BUS_SECRET=… weir edge --bus nats://10.0.0.5:4222 --interface eth0
  weir edge --config weir.yaml        with bus.servers and bus.secret_file
  weir edge --config weir.yaml --takeover       a new release goes on with the connections of this one

While the broker is away clients stay connected, and miss nothing once it is back if it keeps events
in files. /readyz and weir_broker_link_up tell.`
}

// Run serves until the context ends.
func (c *edgeCmd) Run(ctx context.Context, a *app) error {
	settings := append(c.edgeSettings(), setting{"BUS_SERVERS", strings.Join(c.Bus, ",")})
	return c.run(ctx, a, roleEdge, settings, &c.edgeFlags, nil)
}

// setting is a variable of the environment without its WEIR_; an empty one is not set.
type setting struct{ name, value string }

func (f *busFlags) busSettings() []setting {
	return []setting{{"BUS_DATA", f.Data}, {"BUS_LISTEN", f.NATS}}
}

func (f *edgeFlags) edgeSettings() []setting {
	echo := ""
	if f.Echo {
		echo = "true"
	}
	workers := ""
	if f.Workers != nil {
		workers = strconv.Itoa(*f.Workers)
	}
	return []setting{{"EDGE_LISTEN", f.Listen}, {"EDGE_ECHO", echo}, {"EDGE_WORKERS", workers}, {"XDP_ENABLED", f.XDP}, {"XDP_INTERFACE", f.Interface}}
}

// load is the configuration of file, environment and flags.
func (f *nodeFlags) load(environ []string, settings []setting) (*config.Config, error) {
	settings = append(settings, setting{"ADMIN_LISTEN", f.Admin}, setting{"ADMIN_API_KEY", f.APIKey}, setting{"LOG_LEVEL", f.LogLevel})
	for _, s := range settings {
		if s.value != "" {
			environ = append(environ, "WEIR_"+s.name+"="+s.value) // the last one of a name wins
		}
	}
	return config.Load(f.Config, environ)
}

// run serves in a role until the context ends. prepare, unless nil, is called before anything serves.
func (f *nodeFlags) run(ctx context.Context, a *app, r role, settings []setting, e *edgeFlags, prepare func(*node)) error {
	if e.Background {
		if !e.Takeover {
			return &usageError{errors.New("--background goes with --takeover alone: run weir by a service manager (docs/INSTALL.md), or without --background")}
		}
		return runInBackground(ctx, a)
	}
	if e.Orphan {
		return startOrphan(a, e.ReadyFD)
	}
	cfg, err := f.load(a.environ, settings)
	if err != nil {
		return err
	}
	if f.PrintConfig {
		fmt.Fprint(a.stdout, cfg.Print())
		return nil
	}
	if err := r.apply(cfg); err != nil {
		return err
	}
	if e.Takeover && cfg.Workers.Workers > 0 {
		return errWorkersTakeover
	}
	log := newLogger(a, cfg.Log)
	for _, w := range cfg.Warnings {
		log.Warn("environment", "text", w)
	}
	runtimeDirectory(cfg, a.environ)
	service, err := openService(a.environ, log)
	if err != nil {
		return err
	}
	defer service.Close()
	n, err := newNode(ctx, r, cfg, log, a.environ, e.Takeover)
	if err != nil {
		return err
	}
	defer n.close()
	n.stderr, n.service = a.stderr, service
	if n.adminListener, err = inheritedAdmin(a.environ); err != nil {
		return err
	}
	if n.adminListener != nil && r.hasEdge() {
		return errSocketTakeover
	}
	if prepare != nil {
		prepare(n)
	}
	return n.run(ctx, func() {
		fmt.Fprint(a.stderr, n.screen())
		service.tell(service.Ready(n.status()))
		service.tell(sayReady(e.ReadyFD))
		if r.hasEdge() {
			giveUp(log, n.later())
		}
	})
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
