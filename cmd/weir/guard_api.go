package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"weir/admin"
	"weir/bpf/xdp"
	"weir/cmd/weir/config"
	"weir/ratelimit/kernel"
)

var _ admin.Quotas = (*guard)(nil)

// topClients is how many of the busiest clients are shown.
const topClients = 20

// quotaCount is packets and bytes of one reason.
type quotaCount struct {
	Action  string `json:"action"`
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

type quotaClient struct {
	Client      string `json:"client"`
	Class       string `json:"class"`
	Packets     uint64 `json:"packets"`
	Dropped     uint64 `json:"dropped"`
	Spared      uint64 `json:"spared,omitempty"`
	Connections int    `json:"connections"`
	LastReason  string `json:"last_reason,omitempty"`
	Allowed     bool   `json:"allowed,omitempty"`
	Denied      bool   `json:"denied,omitempty"`
}

// quotaShown is what `weir quota show` prints.
type quotaShown struct {
	Enabled   bool          `json:"enabled"`
	Reason    string        `json:"reason,omitempty"` // why it is not
	Interface string        `json:"interface,omitempty"`
	Attach    string        `json:"attach,omitempty"`
	Mode      string        `json:"mode,omitempty"`
	Cookies   string        `json:"cookies,omitempty"`
	Proof     string        `json:"proof,omitempty"`
	Pinned    bool          `json:"pinned,omitempty"`
	Policy    string        `json:"policy,omitempty"` // as weir quota apply takes it
	Until     string        `json:"until,omitempty"`  // when the policy before comes back
	Counters  []quotaCount  `json:"counters,omitempty"`
	Slots     int           `json:"table_slots,omitempty"`
	Used      int           `json:"table_used,omitempty"`
	Bytes     int           `json:"table_bytes,omitempty"`
	Pressure  uint64        `json:"table_pressure"`
	Uncounted uint64        `json:"connections_uncounted"`
	Queues    *quotaQueues  `json:"queues,omitempty"`
	Top       []quotaClient `json:"top,omitempty"`
}

// Show implements [admin.Quotas].
func (g *guard) Show() (any, error) {
	s, err := g.Program.Stats()
	if err != nil {
		return nil, err
	}
	top, used, err := g.Program.Top(topClients, xdp.ByPackets)
	if err != nil {
		return nil, err
	}
	policy, until := g.agent.Policy()
	shown := quotaShown{
		Enabled: true, Interface: g.cfg.Interface, Attach: string(g.Program.How()), Mode: g.Program.Mode().String(),
		Cookies: g.cookies(s), Proof: "handshakes", Pinned: g.cfg.Pin, Policy: config.PrintPolicy(policy),
		Slots: g.Program.Slots(), Used: used, Bytes: g.Program.Slots() * xdp.SlotBytes, Pressure: s.SlotsLost, Uncounted: s.ConnsLost,
		Queues: g.queues.found.Load(),
	}
	if why := g.Program.Proofless(); why != nil {
		shown.Proof = "none: " + why.Error()
	}
	if !until.IsZero() {
		shown.Until = until.Format(time.RFC3339)
	}
	for _, r := range xdp.Reasons() {
		for _, n := range []struct {
			action string
			xdp.Count
		}{{"pass", s.Passed[r]}, {"drop", s.Dropped[r]}, {"answer", s.Answered[r]}} {
			if n.action == "pass" || n.action == "drop" && r.Drops() || n.Packets > 0 {
				shown.Counters = append(shown.Counters, quotaCount{n.action, r.String(), n.Packets, n.Bytes})
			}
		}
	}
	shown.Top = describeClients(top, policy)
	return shown, nil
}

func (g *guard) cookies(s xdp.Stats) string {
	switch {
	case !g.Program.Features().Cookies:
		return "none"
	case s.SiegeUntil > xdp.Now():
		return "answering"
	}
	return "ready"
}

// nameOf is a client as quotas are shown.
func nameOf(c xdp.Client) string {
	if c.Identity != "" {
		return identityPrefix + c.Identity
	}
	return c.Prefix.String()
}

func describeClients(all []xdp.Client, policy kernel.Policy) []quotaClient {
	out := make([]quotaClient, 0, len(all))
	for _, c := range all {
		q := quotaClient{
			Client: nameOf(c), Class: policy.Name(c.Class), Packets: c.Packets, Dropped: c.Dropped, Spared: c.Spared,
			Connections: c.Connections, Allowed: c.Allowed, Denied: c.Denied,
		}
		if c.Dropped > 0 {
			q.LastReason = c.Reason.String()
		}
		out = append(out, q)
	}
	return out
}

// SetMode implements [admin.Quotas].
func (g *guard) SetMode(mode string) error {
	m, err := xdp.ParseMode(mode)
	if err != nil {
		return err
	}
	return g.Program.SetMode(m)
}

// Top implements [admin.Quotas].
func (g *guard) Top(by string, n int) (any, error) {
	order, ok := map[string]xdp.Order{"": xdp.ByPackets, "packets": xdp.ByPackets, "dropped": xdp.ByDropped, "connections": xdp.ByConnections}[by]
	if !ok {
		return nil, fmt.Errorf("by %q: want packets, dropped or connections", by)
	}
	top, used, err := g.Program.Top(n, order)
	if err != nil {
		return nil, err
	}
	policy, _ := g.agent.Policy()
	return map[string]any{"clients": used, "top": describeClients(top, policy)}, nil
}

// Explain implements [admin.Quotas].
func (g *guard) Explain(client string) (any, error) {
	a, identity, err := parseClient(client)
	switch {
	case err != nil:
		return nil, err
	case identity != "":
		return g.agent.ExplainIdentity(identity, xdp.Now()), nil
	}
	return g.agent.Explain(a, xdp.Now()), nil
}

// identityPrefix begins an identity where an address might be.
const identityPrefix = "sub="

// parseClient reads an address, or an identity behind sub=: the subject of a token, or the name of a consumer.
func parseClient(client string) (a netip.Addr, identity string, err error) {
	if a, err = netip.ParseAddr(client); err == nil {
		return a.Unmap().WithZone(""), "", nil
	}
	identity, marked := strings.CutPrefix(client, identityPrefix)
	if identity == "" || !marked {
		return a, "", fmt.Errorf("client %q: want an address such as 192.0.2.7 or 2001:db8::7, or who a token or an API key is of, such as sub=alice", client)
	}
	return a, identity, nil
}

// maxConfirm is the longest that a policy waits to be confirmed.
const maxConfirm = 24 * time.Hour

// Apply implements [admin.Quotas].
func (g *guard) Apply(r admin.QuotaPolicy) (any, error) {
	if r.Name == "" {
		r.Name = "policy"
	}
	confirm := time.Duration(r.ConfirmSeconds) * time.Second
	if confirm < 0 || confirm > maxConfirm {
		return nil, fmt.Errorf("confirm_seconds is %d: want 0 to %d", r.ConfirmSeconds, int(maxConfirm.Seconds()))
	}
	policy, mode, err := config.ParsePolicy(r.Name, []byte(r.Policy))
	if err != nil {
		return nil, err
	}
	peers, err := peersOf(r.Operators)
	if err != nil {
		return nil, err
	}
	until, err := g.agent.Apply(kernel.Change{Policy: policy, Mode: mode, Confirm: confirm, Force: r.Force, Peers: peers})
	if err != nil {
		return nil, err
	}
	applied := map[string]string{"mode": g.Program.Mode().String()}
	if !until.IsZero() {
		applied["until"] = until.Format(time.RFC3339)
	}
	return applied, nil
}

func peersOf(operators []string) (all []kernel.Peer, err error) {
	for _, o := range operators {
		a, err := netip.ParseAddr(o)
		if err != nil {
			return nil, fmt.Errorf("operator %q: want an address", o)
		}
		all = append(all, kernel.Peer{Addr: a.WithZone("").Unmap(), Why: "the operator's SSH"})
	}
	return all, nil
}

// Confirm implements [admin.Quotas].
func (g *guard) Confirm() error { return g.agent.Confirm() }

// Edit implements [admin.Quotas].
func (g *guard) Edit(r admin.QuotaEdit) error {
	peers, err := peersOf(r.Operators)
	if err != nil {
		return err
	}
	return g.agent.Edit(r.Force, peers, func(p *kernel.Policy) error {
		for _, text := range r.Prefixes {
			at, err := config.ParsePrefix(text)
			if err != nil {
				return fmt.Errorf("prefix %w", err)
			}
			e := kernel.Entry{Prefix: at}
			switch r.Verdict {
			case "allow":
				e.Allow = true
			case "deny":
				e.Deny = true
			case "class":
				e.Class = r.Class
			case "none":
			default:
				return fmt.Errorf("verdict %q: want allow, deny, class or none", r.Verdict)
			}
			p.List(e)
		}
		if len(r.Set) == 0 {
			return nil
		}
		return config.SetQuotas(p, r.Class, r.Set)
	})
}

// quotaEvent is a sample as the API has it.
type quotaEvent struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Means  string    `json:"means"`
	// Dropped is false in mode shadow.
	Dropped   bool   `json:"dropped"`
	From      string `json:"from,omitempty"`
	To        string `json:"to,omitempty"`
	Proto     uint8  `json:"proto,omitempty"`
	Queue     int    `json:"queue"`
	Length    int    `json:"length"`
	Missed    uint64 `json:"missed"`
	Interface string `json:"interface"`
	Data      []byte `json:"data"`
}

// Events implements [admin.Quotas].
func (g *guard) Events(ctx context.Context, perSecond int, write func(any) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	boot := time.Now().Add(-time.Duration(xdp.Now())) //nolint:gosec // since boot
	samples, err := g.Program.Samples(perSecond)
	if err != nil {
		return err
	}
	if err := write(nil); err != nil {
		return errors.Join(err, samples.Close())
	}
	err = samples.Read(ctx, func(s xdp.Sample) {
		flow := s.Flow()
		e := quotaEvent{
			At: boot.Add(time.Duration(s.Nanos)), Reason: s.Reason.String(), Means: s.Reason.Means(), Dropped: !s.Spared, //nolint:gosec // since boot
			Proto: flow.Proto, Queue: s.Queue, Length: s.Length, Missed: s.Missed, Interface: g.cfg.Interface, Data: s.Data,
		}
		if flow.From.IsValid() {
			e.From, e.To = flowEnd(flow.From), flowEnd(flow.To)
		}
		if err := write(e); err != nil {
			cancel(err)
		}
	})
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// flowEnd is an address and port, or the address alone where there is no port.
func flowEnd(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// operatorsOf are the addresses that a command was started from over SSH, for a weir to protect.
func operatorsOf(environ []string) (all []string) {
	for _, p := range operators(environ) {
		all = append(all, p.Addr.String())
	}
	return all
}

// keyValues reads KEY=VALUE arguments.
func keyValues(args []string) (map[string]string, error) {
	set := map[string]string{}
	for _, kv := range args {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%q: want KEY=VALUE, such as packets=100/s", kv)
		}
		set[key] = value
	}
	return set, nil
}
