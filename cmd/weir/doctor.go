package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"weir/bpf/hooks"
	"weir/bpf/xdp"
	"weir/broker/bus"
	"weir/cmd/weir/config"
	"weir/edge/loop"
	"weir/ratelimit/redis"
	"weir/tuning"
	"weir/tuning/catalog"
)

type doctorCmd struct {
	Config string `help:"Configuration file (YAML) to look at this host for." placeholder:"FILE" type:"path"`
	Routes string `help:"File of a gateway's routes to look at, in place of gateway.routes." placeholder:"FILE" type:"path"`
	JSON   bool   `help:"Print JSON." name:"json"`
}

// Help is printed below the flags.
func (*doctorCmd) Help() string {
	return `Examples:
  weir doctor
  weir doctor --config weir.yaml --json
  weir doctor --config weir.yaml --routes routes.yaml    with what each shared policy may let through

It looks at the kernel's BPF, by loading a program of each hook that weir uses; at the
guarded interface: native XDP, other programs there, the MTU, queues, interrupts; at
limits, the clock and storage; and at how many connections fit, and what bounds them.
Each finding says why it matters, and the command that mends it. Nothing is changed.

The exit code is 1 if something that the configuration asks for does not work here.`
}

// errUnwell ends the command with exit code 1; the findings say why.
var errUnwell = errors.New("this host fails a check: see above")

// Run looks and prints.
func (c *doctorCmd) Run(ctx context.Context, a *app) error {
	cfg, err := config.Load(c.Config, a.environ)
	if err != nil {
		return err
	}
	storage := string(bus.Memory)
	if cfg.Bus.Defaults().Storage == bus.File {
		storage = string(cfg.Bus.Sync)
	}
	clock, err := tuning.ReadClock()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	found := tuning.Host{
		MaxConns:    wantedOfOne(cfg),
		Descriptors: loop.DescriptorLimit(),
		Privileged:  canLoad(cfg.XDP.Interface),
		Interface:   cfg.XDP.Interface,
		Storage:     storage,
		Clock:       clock,
	}.Examine()
	probed := hooks.Probe()
	found = append(found, examineHooks(probed, cfg.XDP.Enabled)...)
	if x, ok := lookAtXDP(cfg.XDP, probed); ok {
		found = append(found, x.Examine()...)
	}
	found = append(found, tuning.ExamineIOUring())
	if c.Routes != "" {
		cfg.Gateway.Routes = c.Routes
	}
	found = append(found, examineDevices(cfg)...)
	if len(cfg.Bus.Servers) > 0 {
		found = append(found, examineBroker(ctx, cfg.Bus))
	}
	if cfg.Gateway.Routes != "" {
		found = append(found, examineRoutes(cfg.Gateway)...)
	}
	if c.JSON {
		err = json.NewEncoder(a.stdout).Encode(found)
	} else {
		err = printFindings(a.stdout, found)
	}
	if err == nil && tuning.Failed(found) {
		return errUnwell
	}
	return err
}

// examineDevices looks at the guarded interface's device, and at how far the host is from the profile of an edge, or of a gateway if it is
// to be one.
func examineDevices(cfg *config.Config) (found []tuning.Finding) {
	err := thisHost().on(func(t *tuning.Tuner) (err error) {
		profile := catalog.Edge
		if cfg.Gateway.Routes != "" {
			profile = catalog.Gateway
		}
		found, err = t.Examine(catalog.Wanted{Profile: profile, Conns: max(wantedOfOne(cfg), 1), QueuedBytes: 1024}, cfg.XDP.Interface)
		return err
	})
	if err != nil {
		found = append(found, tuning.Finding{Check: "settings", Level: tuning.Warn, Found: "they cannot be looked at", Why: err.Error(), Mend: "weir tune plan"})
	}
	return found
}

// examineBroker tries to be let in to the broker of an edge.
func examineBroker(ctx context.Context, cfg bus.Config) tuning.Finding {
	f := tuning.Finding{Check: "broker", Level: tuning.OK, Found: strings.Join(cfg.Servers, " ") + " lets this edge in"}
	if cfg.Secret == "" {
		f.Level, f.Found, f.Why = tuning.Fail, "bus.secret is not set", "the broker lets an edge in by it"
		f.Mend = "openssl rand -hex 24 >/etc/weir/secret, and bus.secret_file: /etc/weir/secret on the broker and on its edges"
		return f
	}
	err := bus.Probe(ctx, cfg)
	switch {
	case errors.Is(err, bus.ErrSecret):
		f.Level, f.Found, f.Why, f.Mend = tuning.Fail, "it refuses this edge", err.Error(), "set the same bus.secret on both, and start them again"
	case err != nil:
		f.Level, f.Found, f.Why, f.Mend = tuning.Fail, "no answer", err.Error(), "weir broker --nats HOST:4222 there, and let this host through to that port"
	}
	return f
}

// examineRoutes says whether a gateway's routes are right, and for each shared policy what may be let through beyond it.
func examineRoutes(cfg config.Gateway) []tuning.Finding {
	failed := func(err error, mend string) []tuning.Finding {
		return []tuning.Finding{{Check: "routes", Level: tuning.Fail, Found: "they are not taken", Why: err.Error(), Mend: mend}}
	}
	plan, err := config.LoadPlan(cfg.Routes)
	if err != nil {
		return failed(err, "mend "+cfg.Routes)
	}
	ok := fmt.Sprintf("%d routes, %d policies, %d of them shared", len(plan.Rules.Routes), len(plan.Rules.Policies), len(plan.SharedPolicies))
	found := []tuning.Finding{{Check: "routes", Level: tuning.OK, Found: ok}}
	if len(plan.SharedPolicies) == 0 {
		return found
	}
	shared, err := share(cfg.Redis, plan.SharedPolicies)
	if err != nil {
		return failed(err, "see docs/GATEWAY.md, Shared policies")
	}
	defer shared.close()
	for _, p := range plan.SharedPolicies {
		found = append(found, findingOf(p, boundOf(shared.store, p.Quota.Name)))
	}
	return found
}

// findingOf is a policy's bound, in words.
func findingOf(p redis.Policy, b bound) tuning.Finding {
	f := tuning.Finding{
		Check: "policy " + p.Quota.Name, Level: tuning.OK,
		Found: fmt.Sprintf("%s: beyond the quota at most %d leased and %d charged late while Redis is there, %d when it is replaced or comes back, %d while it is gone",
			p.Mode, b.Lease, b.Late, b.Failover, b.Fallback),
		Why: fmt.Sprintf("%d in all, each time that Redis goes and comes back: units, of all gateways together", b.Most),
	}
	if b.Open {
		f.Level = tuning.Warn
		f.Found = fmt.Sprintf("%s: beyond the quota at most %d leased and %d charged late while Redis is there, %d when it is replaced or comes back", p.Mode, b.Lease, b.Late, b.Failover)
		f.Why, f.Mend = "while Redis is gone all is let through", "when_gone: local-share, or closed, for a bound"
	}
	return f
}

// canLoad tries the program itself: no list of capabilities says it better.
func canLoad(iface string) bool {
	p, err := xdp.Load(xdp.Config{Interface: iface, Slots: 16}, slog.New(slog.DiscardHandler))
	if err != nil {
		return !errors.Is(err, xdp.ErrNotPermitted) && !errors.Is(err, xdp.ErrKernel) && errors.Is(err, xdp.ErrNoInterface)
	}
	return p.Close() == nil
}

// printFindings prints a line each, and below it why and what to do. The names of checks are in a column as wide as the longest.
func printFindings(w io.Writer, found []tuning.Finding) error {
	wide := 0
	for _, f := range found {
		wide = max(wide, len(f.Check))
	}
	for _, f := range found {
		if _, err := fmt.Fprintf(w, "%-5s %-*s  %s\n", f.Level, wide, f.Check, f.Found); err != nil {
			return err
		}
		for _, line := range []string{f.Why, f.Mend} {
			if line == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "      %-*s  %s\n", wide, "", line); err != nil {
				return err
			}
		}
	}
	return nil
}
