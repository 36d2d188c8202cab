package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"weir/admin"
	"weir/bpf/xdp"
	"weir/cmd/weir/config"
	"weir/ratelimit"
	"weir/ratelimit/kernel"

	"github.com/prometheus/client_golang/prometheus"
)

// topClients is how many of the busiest clients are shown.
const topClients = 20

// guard is the quotas in XDP, or why there are none.
type guard struct {
	xdp.Collector
	cfg    config.XDP
	policy kernel.Policy
	off    string // why, if there is no program
}

var _ prometheus.Collector = (*guard)(nil)

// newGuard loads and attaches the program, by the configuration. With enabled: auto a host
// that cannot run it is served without; anything else that is wrong is an error.
func newGuard(cfg config.XDP, log *slog.Logger, environ []string) (*guard, error) {
	g := &guard{cfg: cfg}
	if cfg.Enabled == "off" {
		g.off = "xdp.enabled is off"
		return g, nil
	}
	var err error
	if g.policy, err = policyOf(cfg, operators(environ, log)); err != nil {
		return nil, err
	}
	err = g.start(log)
	if err == nil {
		return g, nil
	}
	g.close()
	cannot := errors.Is(err, xdp.ErrNotPermitted) || errors.Is(err, xdp.ErrKernel) || errors.Is(err, errors.ErrUnsupported)
	if cfg.Enabled == "auto" && cannot {
		log.Warn("serving without quotas in xdp", "err", err)
		g.off = err.Error()
		return g, nil
	}
	return nil, err
}

func (g *guard) start(log *slog.Logger) error {
	prog, err := xdp.Load(xdp.Config{
		Interface:      g.cfg.Interface,
		Attach:         xdp.AttachMode(g.cfg.Attach),
		Slots:          g.cfg.Slots,
		IPv4PrefixBits: g.cfg.IPv4Prefix,
		IPv6PrefixBits: g.cfg.IPv6Prefix,
	}, log)
	if err != nil {
		return err
	}
	g.Program = prog
	if err := kernel.Apply(prog, g.policy); err != nil {
		return err
	}
	how, err := prog.Attach()
	if err != nil {
		return err
	}
	log.Info("quotas in xdp", "iface", g.cfg.Interface, "attach", how, "mode", prog.Mode(), "packets", g.cfg.Packets, "burst", g.cfg.Burst)
	return nil
}

func policyOf(cfg config.XDP, allow []netip.Prefix) (kernel.Policy, error) {
	p := kernel.Policy{Burst: uint64(cfg.Burst), Allow: append(allow, cfg.Allow...)} //nolint:gosec // config bounds it
	var errs []error
	var err error
	if p.Client, err = ratelimit.ParseRate(cfg.Packets); err != nil {
		errs = append(errs, fmt.Errorf("xdp.packets: %w", err))
	}
	if p.Total, err = ratelimit.ParseRate(cfg.Total); err != nil {
		errs = append(errs, fmt.Errorf("xdp.total: %w", err))
	}
	if p.Mode, err = xdp.ParseMode(cfg.Mode); err != nil {
		errs = append(errs, fmt.Errorf("xdp.mode: %w", err))
	}
	if len(errs) == 0 {
		_, err = kernel.Compile(p)
		errs = append(errs, err)
	}
	return p, errors.Join(errs...)
}

// operators is the address that this was started from over SSH: it is never cut off.
func operators(environ []string, log *slog.Logger) []netip.Prefix {
	for _, kv := range environ {
		value, ok := strings.CutPrefix(kv, "SSH_CONNECTION=")
		if !ok {
			continue
		}
		from, _, _ := strings.Cut(value, " ")
		if a, err := netip.ParseAddr(from); err == nil {
			a = a.WithZone("").Unmap()
			log.Info("no quota for the operator's own address", "remote", a)
			return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}
		}
	}
	return nil
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
	return fmt.Sprintf("%v on %s (%s), %s a client", g.Program.Mode(), g.cfg.Interface, g.Program.How(), g.cfg.Packets)
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

// quotaCount is packets and bytes of one reason.
type quotaCount struct {
	Action  string `json:"action"`
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

type quotaClient struct {
	Client  string `json:"client"`
	Packets uint64 `json:"packets"`
	Dropped uint64 `json:"dropped"`
	Allowed bool   `json:"allowed,omitempty"`
}

// quotaShown is what `weir quota show` prints.
type quotaShown struct {
	Enabled   bool          `json:"enabled"`
	Reason    string        `json:"reason,omitempty"` // why it is not
	Interface string        `json:"interface,omitempty"`
	Attach    string        `json:"attach,omitempty"`
	Mode      string        `json:"mode,omitempty"`
	Classes   []quotaClass  `json:"classes,omitempty"`
	Allow     []string      `json:"allow,omitempty"`
	Counters  []quotaCount  `json:"counters,omitempty"`
	Slots     int           `json:"table_slots,omitempty"`
	Used      int           `json:"table_used,omitempty"`
	Top       []quotaClient `json:"top,omitempty"`
}

type quotaClass struct {
	Name    string `json:"name"`
	Packets string `json:"packets"`
	Burst   int    `json:"burst"`
	Total   string `json:"total"`
}

// Show implements [admin.Quotas].
func (g *guard) Show() (any, error) {
	s, err := g.Program.Stats()
	if err != nil {
		return nil, err
	}
	top, used, err := g.Program.Top(topClients)
	if err != nil {
		return nil, err
	}
	shown := quotaShown{
		Enabled: true, Interface: g.cfg.Interface, Attach: string(g.Program.How()), Mode: g.Program.Mode().String(),
		Classes: []quotaClass{{"default", g.cfg.Packets, g.cfg.Burst, g.cfg.Total}},
		Slots:   g.Program.Slots(), Used: used,
	}
	for _, p := range g.policy.Allow {
		shown.Allow = append(shown.Allow, p.String())
	}
	for _, r := range xdp.Reasons() {
		shown.Counters = append(shown.Counters, quotaCount{"pass", r.String(), s.Passed[r].Packets, s.Passed[r].Bytes})
		if r.Drops() {
			shown.Counters = append(shown.Counters, quotaCount{"drop", r.String(), s.Dropped[r].Packets, s.Dropped[r].Bytes})
		}
	}
	for _, c := range top {
		shown.Top = append(shown.Top, quotaClient{c.Prefix.String(), c.Packets, c.Dropped, c.Allowed})
	}
	return shown, nil
}

// SetMode implements [admin.Quotas].
func (g *guard) SetMode(mode string) error {
	m, err := xdp.ParseMode(mode)
	if err != nil {
		return err
	}
	return g.Program.SetMode(m)
}
