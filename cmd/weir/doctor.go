package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"weir/bpf/xdp"
	"weir/broker/bus"
	"weir/cmd/weir/config"
	"weir/edge/loop"
	"weir/tuning"
)

type doctorCmd struct {
	Config string `help:"Configuration file (YAML) to look at this host for." placeholder:"FILE" type:"path"`
	JSON   bool   `help:"Print JSON." name:"json"`
}

// Help is printed below the flags.
func (*doctorCmd) Help() string {
	return `Examples:
  weir doctor
  weir doctor --config weir.yaml --json

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
	found := tuning.Host{
		MaxConns:    wantedOfOne(cfg),
		Descriptors: loop.DescriptorLimit(),
		Privileged:  canLoad(cfg.XDP.Interface),
		Interface:   cfg.XDP.Interface,
		Storage:     storage,
	}.Examine()
	if len(cfg.Bus.Servers) > 0 {
		found = append(found, examineBroker(ctx, cfg.Bus))
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

// canLoad tries the program itself: no list of capabilities says it better.
func canLoad(iface string) bool {
	p, err := xdp.Load(xdp.Config{Interface: iface, Slots: 16}, slog.New(slog.DiscardHandler))
	if err != nil {
		return !errors.Is(err, xdp.ErrNotPermitted) && !errors.Is(err, xdp.ErrKernel) && errors.Is(err, xdp.ErrNoInterface)
	}
	return p.Close() == nil
}

func printFindings(w io.Writer, found []tuning.Finding) error {
	for _, f := range found {
		if _, err := fmt.Fprintf(w, "%-5s %-20s %s\n", f.Level, f.Check, f.Found); err != nil {
			return err
		}
		for _, line := range []string{f.Why, f.Mend} {
			if line == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "      %-20s %s\n", "", line); err != nil {
				return err
			}
		}
	}
	return nil
}
