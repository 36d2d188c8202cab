package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"weir/cmd/weir/config"
)

type gatewayCmd struct {
	nodeFlags
	Listen    string   `help:"Address of the gateway." placeholder:"HOST:PORT"`
	Routes    string   `help:"File with upstreams, policies, plans, consumers and routes (YAML)." placeholder:"FILE" type:"path"`
	Upstream  []string `help:"Without a file of routes: a server that gets all requests; repeat it for others." placeholder:"HOST:PORT"`
	Quota     string   `help:"Without a file of routes: requests of each client address, such as 100/s." placeholder:"RATE"`
	XDP       string   `help:"Quotas in XDP: auto, on or off." name:"xdp" placeholder:"WHEN"`
	Interface string   `help:"Network interface they guard." placeholder:"NAME"`
	Check     bool     `help:"Say whether configuration and routes are right, and exit."`
}

// Help is printed below the flags.
func (*gatewayCmd) Help() string {
	return `Examples:
  weir gateway --upstream 127.0.0.1:8080 --quota 100/s
  weir gateway --config weir.yaml --routes routes.yaml
  weir gateway --routes routes.yaml --check        say what is wrong with it

A file of routes:
  upstreams: {app: {servers: ["10.0.0.5:8080", "10.0.0.6:8080"], health: {path: /healthz, interval: 5s}}}
  policies:  {burst: {quota: 100/s, key: [address]}, minute: {quota: 1000/min, key: [identity]}}
  plans:     {free: [minute]}
  consumers: {shop: {plan: free, key_sums: [<SHA-256 of its API key>]}}
  routes:    {api: {path: /api, upstream: app, policies: [burst]}}
  rls:       {domains: {edge: [{match: {remote_address: ""}, policies: [burst]}]}}

The last is for Envoys that ask at gateway.rls_listen, which may be served without any route.

It is read again when it changes, or at SIGHUP, without a request's being dropped; one that is wrong
changes nothing. docs/GATEWAY.md has every key.`
}

// Run serves until the context ends.
func (c *gatewayCmd) Run(ctx context.Context, a *app) error {
	if len(c.Upstream) > 0 && c.Routes != "" {
		return &usageError{errors.New("--upstream and --routes are both given: keep one")}
	}
	cfg, err := c.load(a.environ, []setting{
		{"GATEWAY_LISTEN", c.Listen}, {"GATEWAY_ROUTES", c.Routes}, {"XDP_ENABLED", c.XDP}, {"XDP_INTERFACE", c.Interface},
	})
	if err != nil {
		return err
	}
	if c.PrintConfig {
		fmt.Fprint(a.stdout, cfg.Print())
		return nil
	}
	if cfg.Gateway.Routes == "" && len(c.Upstream) == 0 {
		return &usageError{errors.New("a gateway needs somewhere to send requests: name a server with --upstream HOST:PORT, or a file with --routes or gateway.routes")}
	}
	log := newLogger(a, cfg.Log)
	for _, w := range cfg.Warnings {
		log.Warn("environment", "text", w)
	}
	n, err := newGatewayNode(ctx, cfg, c.plan(cfg), log, a)
	if err != nil {
		return err
	}
	if c.Check {
		fmt.Fprintln(a.stdout, "configuration and routes are right")
		return nil
	}
	if n.service, err = openService(a.environ, log); err != nil {
		return err
	}
	defer n.service.Close()
	if n.adminListener, err = inheritedAdmin(a.environ); err != nil {
		return err
	}
	return n.run(ctx, func() {
		fmt.Fprint(a.stderr, n.screen())
		n.service.tell(n.service.Ready(n.status()))
		giveUp(log, later{quotas: n.guard.on(), traces: n.traces != nil})
	})
}

// plan is where the gateway's plan is read from.
func (c *gatewayCmd) plan(cfg *config.Config) func() (*config.Plan, error) {
	if cfg.Gateway.Routes != "" {
		return func() (*config.Plan, error) { return config.LoadPlan(cfg.Gateway.Routes) }
	}
	return func() (*config.Plan, error) {
		var b strings.Builder
		fmt.Fprintf(&b, "upstreams: {default: {servers: [%q]}}\n", c.Upstream[0])
		route := "upstream: default"
		if c.Quota != "" {
			fmt.Fprintf(&b, "policies: {default: {quota: %q}}\n", c.Quota)
			route += ", policies: [default]"
		}
		fmt.Fprintf(&b, "routes: {all: {%s}}\n", route)
		p, err := config.ParsePlan("--upstream and --quota", []byte(b.String()))
		if err != nil {
			return nil, &usageError{err}
		}
		servers := &p.Upstreams[0].Pool.Servers
		for _, s := range c.Upstream[1:] {
			one := (*servers)[0]
			one.Address = s
			*servers = append(*servers, one)
		}
		return p, nil
	}
}
