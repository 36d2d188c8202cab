package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"weir/admin"
	"weir/bpf/xdp"
	"weir/cmd/weir/config"
	"weir/ratelimit/kernel"
	"weir/tuning"

	"github.com/prometheus/client_golang/prometheus"
)

// guard is the quotas in XDP, or why there are none.
type guard struct {
	xdp.Collector
	cfg       config.XDP
	agent     *kernel.Agent
	log       *slog.Logger
	operators []kernel.Peer
	protected map[uint16]string // ports, and who is connected there
	queues    queueWatch
	ahead     bool   // loaded before a takeover
	off       string // why, if there is no program
}

var _ prometheus.Collector = (*guard)(nil)

// newGuard loads and attaches the program, by the configuration. With enabled: auto a host
// that cannot run it is served without; anything else that is wrong is an error. own are whom no
// quota may cut off.
func newGuard(cfg config.XDP, busListen string, own []kernel.Peer, log *slog.Logger, environ []string) (*guard, error) {
	g, err := loadGuard(cfg, busListen, own, log, environ)
	if err != nil {
		return nil, err
	}
	if err := g.attach(); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// loadGuard is newGuard without attaching: that is attach.
func loadGuard(cfg config.XDP, busListen string, own []kernel.Peer, log *slog.Logger, environ []string) (*guard, error) {
	g := &guard{cfg: cfg, log: log, operators: append(operators(environ), own...), protected: map[uint16]string{sshPort: "connected by SSH"}}
	if _, port, err := net.SplitHostPort(busListen); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n != 0 {
			g.protected[uint16(n)] = "connected to the bus"
		}
	}
	if cfg.Enabled == "off" {
		g.off = "xdp.enabled is off"
		return g, nil
	}
	policy, mode, err := cfg.Quotas()
	if err != nil {
		return nil, err
	}
	if mode == nil {
		m, err := xdp.ParseMode(cfg.Mode)
		if err != nil {
			return nil, fmt.Errorf("xdp.mode: %w", err)
		}
		mode = &m
	}
	for _, o := range g.operators {
		log.Info("no quota for an address of our own", "remote", o.Addr, "why", o.Why)
		policy.List(kernel.Entry{Prefix: netip.PrefixFrom(o.Addr, o.Addr.BitLen()), Allow: true})
	}
	if err := g.without(g.load(policy, *mode)); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// without has an error that says that this host cannot run the program end in no quotas, if that is wanted.
func (g *guard) without(err error) error {
	cannot := errors.Is(err, xdp.ErrNotPermitted) || errors.Is(err, xdp.ErrKernel) || errors.Is(err, errors.ErrUnsupported)
	if g.cfg.Enabled != "auto" || !cannot {
		return err
	}
	g.close()
	g.log.Warn("serving without quotas in xdp", "err", err)
	g.off = err.Error()
	return nil
}

func (g *guard) load(policy kernel.Policy, mode xdp.Mode) error {
	prog, err := xdp.Load(xdp.Config{
		Interface:      g.cfg.Interface,
		Attach:         xdp.AttachMode(g.cfg.Attach),
		Slots:          g.cfg.Slots,
		IPv4PrefixBits: g.cfg.IPv4Prefix,
		IPv6PrefixBits: g.cfg.IPv6Prefix,
		Clock:          xdp.Clock(g.cfg.Clock),
		Cookies:        xdp.Option(g.cfg.Cookies),
		Frags:          xdp.Option(g.cfg.Frags),
		Proof:          xdp.Option(g.cfg.Proof),
		Pin:            g.cfg.Pin,
	}, g.log)
	if err != nil {
		return err
	}
	g.Program = prog
	g.agent, err = kernel.NewAgent(prog, policy, mode, g.peers, g.log)
	return err
}

// attach has a program that is loaded see packets. It may be called again if it fails.
func (g *guard) attach() error {
	if !g.on() {
		return nil
	}
	prog := g.Program
	how, err := prog.Attach()
	if err != nil {
		return g.without(err)
	}
	g.log.Info("quotas in xdp", "iface", g.cfg.Interface, "attach", how, "mode", prog.Mode(), "adopted", prog.Adopted(), "ahead", g.ahead,
		"cookies", prog.Features().Cookies, "proof", prog.Proofless() == nil, "table_bytes", g.cfg.Slots*xdp.SlotBytes)
	return nil
}

// detach lets another process have the interface. What is loaded is kept for attach: to load it again takes CAP_PERFMON.
func (g *guard) detach() error {
	if !g.on() {
		return nil
	}
	return g.Program.Detach()
}

// run does what the quotas need from time to time, until ctx ends.
func (g *guard) run(ctx context.Context) error {
	if !g.on() {
		return nil
	}
	var wg sync.WaitGroup
	wg.Go(func() { g.queues.run(ctx, g.Program) })
	defer wg.Wait()
	return g.agent.Run(ctx)
}

// refresh says that there are listeners that there were not.
func (g *guard) refresh() {
	if g.on() {
		g.agent.Refresh()
	}
}

// operators is the address that this was started from over SSH: it is never cut off.
func operators(environ []string) []kernel.Peer {
	for _, kv := range environ {
		value, ok := strings.CutPrefix(kv, "SSH_CONNECTION=")
		if !ok {
			continue
		}
		from, _, _ := strings.Cut(value, " ")
		if a, err := netip.ParseAddr(from); err == nil {
			return []kernel.Peer{{Addr: a.WithZone("").Unmap(), Why: "the operator's SSH"}}
		}
	}
	return nil
}

// sshPort is one whose peers no policy may cut off unless it is forced.
const sshPort = 22

// peers are those: who is connected by SSH or to the bus now, and whoever started weir.
func (g *guard) peers() []kernel.Peer {
	all := slices.Clone(g.operators)
	for port, why := range g.protected {
		connected, err := tuning.Peers("", port)
		if err != nil {
			g.log.Warn("who is connected is not known: a policy that cuts them off is not refused", "err", err)
		}
		for _, a := range connected {
			all = append(all, kernel.Peer{Addr: a, Why: why})
		}
	}
	return all
}

func (g *guard) on() bool { return g.Program != nil }

func (g *guard) close() {
	if g.Program == nil {
		return
	}
	_ = g.Program.Close() // the process ends, and the program with it
	g.Program = nil
}

// describe is the state in a line.
func (g *guard) describe() string {
	if !g.on() {
		return "off: " + g.off
	}
	p, _ := g.agent.Policy()
	quota := "no quota"
	if c := p.ClassOf(netip.Addr{}); c.Client.Packets.Count > 0 {
		quota = c.Client.Packets.String() + " a client"
	}
	return fmt.Sprintf("%v on %s (%s), %s", g.Program.Mode(), g.cfg.Interface, g.Program.How(), quota)
}

// numbers adds packets by reason.
func (g *guard) numbers(n *admin.Numbers) {
	if !g.on() {
		return
	}
	s, err := g.Program.Stats()
	if err != nil {
		return // the scrape reports it
	}
	for _, r := range xdp.Reasons() {
		n.Passed += s.Passed[r].Packets
		if r.Drops() {
			n.Dropped[r.String()] = s.Dropped[r].Packets
		}
	}
}
