package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"weir/bpf/xdp"
	"weir/cmd/weir/config"
	"weir/gateway/policy"
	"weir/ratelimit"
	"weir/ratelimit/escalate"
	"weir/ratelimit/kernel"
)

// escalator has the kernel cut who keeps being refused at the gateway, and charge conns to whose they are.
type escalator struct {
	table   *escalate.Table
	packets ratelimit.Rate
	log     *slog.Logger
	cuts    chan cut
	agent   atomic.Pointer[kernel.Agent] // nil while there is no program
}

// cut is a client to be cut.
type cut struct {
	client kernel.Client
	policy string
	hold   time.Duration
}

// maxCuts bounds the clients that wait to be cut: past it one is refused again before it is.
const maxCuts = 1024

// newEscalator returns nil if nobody is to be escalated.
func newEscalator(cfg config.Escalate, log *slog.Logger) (*escalator, error) {
	if cfg.Mode == "off" {
		return nil, nil //nolint:nilnil // there is none
	}
	t, err := escalate.New(cfg.Config)
	if err != nil {
		return nil, err
	}
	return &escalator{table: t, packets: cfg.Packets, log: log, cuts: make(chan cut, maxCuts)}, nil
}

// decided is told of each decision of the gateway. It is called by event loops: it allocates and waits for nothing, but for who is cut.
func (e *escalator) decided(_ uint64, x *policy.Exchange, o policy.Outcome, remote netip.AddrPort) {
	if e == nil || e.agent.Load() == nil || x.Identity == "" && x.Trusted() {
		return // whose packets are a proxy's, the kernel cannot tell from others
	}
	var buf [80]byte
	client := buf[:0]
	if x.Identity != "" {
		client = append(append(client, 'i'), x.Identity...)
	} else {
		client = x.Client.AppendTo(append(client, 'a'))
	}
	now := xdp.Now()
	if o != policy.Limited {
		for i := range x.Held() {
			if name, shadow, _ := x.At(i); !shadow {
				e.table.Admitted(client, name)
			}
		}
		return
	}
	for i := range x.Held() {
		name, shadow, d := x.At(i)
		if shadow || d.Allowed {
			continue
		}
		if until, yes := e.table.Refused(now, client, name); yes {
			e.cut(x, remote, name, time.Duration(until-now)) //nolint:gosec // it is after now
		}
	}
}

func (e *escalator) cut(x *policy.Exchange, remote netip.AddrPort, name string, hold time.Duration) {
	c := cut{client: kernel.Client{Identity: x.Identity}, policy: name, hold: hold}
	if x.Identity == "" {
		c.client = e.agent.Load().ClientOf(remote.Addr())
	}
	select {
	case e.cuts <- c:
	default:
	}
}

// run cuts who is to be cut until ctx ends.
func (e *escalator) run(ctx context.Context) error {
	if e == nil {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-e.cuts:
			err := e.agent.Load().Escalate(c.client, kernel.Escalation{Policy: c.policy, For: c.hold, Packets: e.packets})
			switch {
			case errors.Is(err, kernel.ErrCuts):
				e.log.Warn("not cut in xdp", "client", c.client.String(), "policy", c.policy, "err", err)
			case err != nil:
				e.log.Error("not cut in xdp", "client", c.client.String(), "policy", c.policy, "err", err)
			default:
				e.log.Info("cut in xdp", "client", c.client.String(), "policy", c.policy, "for", c.hold)
			}
		}
	}
}

// binder has the kernel charge conns to whose they are, once there is a program. The table of conns that is full is counted there.
type binder struct{ agent atomic.Pointer[kernel.Agent] }

// Bind implements the edge's Binder.
func (b *binder) Bind(local, remote netip.AddrPort, identity, class string) {
	if a := b.agent.Load(); a != nil {
		_ = a.Bind(local, remote, identity, class) // a conn that is not bound is its address's
	}
}

// Unbind implements the edge's Binder.
func (b *binder) Unbind(local, remote netip.AddrPort) {
	if a := b.agent.Load(); a != nil {
		_ = a.Unbind(local, remote) // the kernel forgets it with its socket, too
	}
}
