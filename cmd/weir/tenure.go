package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"weir/admin"
	"weir/broker"
	"weir/broker/bus"
	"weir/broker/region"
	"weir/cmd/weir/config"
	"weir/ratelimit/kernel"

	"github.com/prometheus/client_golang/prometheus"
)

// tenure is what only one of two processes can have: the admin's port, the quotas in XDP, and the bus
// if it is in a directory.
type tenure struct {
	admin    *admin.Server
	guard    *guard
	registry *prometheus.Registry
	drift    *drift
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// handoverPatience bounds how long something is waited for that the other process of a takeover has
// given up, or is about to.
const handoverPatience = 10 * time.Second

// acquire begins the node's tenure.
func (n *node) acquire(ctx context.Context) error {
	if err := n.takeBus(ctx); err != nil {
		return err
	}
	if n.role == roleWorker { // whoever started it has all that
		return nil
	}
	t := &tenure{registry: prometheus.NewRegistry(), drift: newDrift(n.log)}
	ctx, t.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := n.beginTenure(ctx, t); err != nil {
		t.end()
		return err
	}
	n.tenure.Store(t)
	t.serve(ctx, n, t.guard.run)
	if n.traces != nil {
		t.serve(ctx, n, n.traces.Run)
	}
	if n.edge != nil {
		t.serve(ctx, n, t.refreshOnce(n))
	}
	t.serve(ctx, n, n.watchBus)
	t.serve(ctx, n, t.drift.run)
	if n.feed != nil {
		t.serve(ctx, n, func(ctx context.Context) error { return n.feed.Run(ctx, n.feedOne) })
	}
	return nil
}

// takeBus starts the bus or takes it back, if it is not there, and has the edge served from it.
func (n *node) takeBus(ctx context.Context) error {
	switch {
	case n.bus == nil:
		if err := n.patiently(ctx, func() error { return n.openBus(ctx) }); err != nil {
			return err
		}
	case !n.bus.Running():
		return n.patiently(ctx, func() error { return n.bus.Resume(ctx) })
	}
	if n.region != nil && n.source.running.CompareAndSwap(false, true) {
		n.running.Go(func() {
			if err := n.region.Run(n.behind, n.edge); err != nil {
				n.fail(err)
			}
		})
	}
	return nil
}

func (n *node) beginTenure(ctx context.Context, t *tenure) (err error) {
	t.guard = &guard{off: "weir broker has no quotas, its edges have"}
	if n.front != nil {
		if n.loaded != nil {
			t.guard, n.loaded = n.loaded, nil
			err = n.patiently(ctx, t.guard.attach)
		} else {
			err = n.patiently(ctx, func() (err error) {
				t.guard, err = n.newGuard(ctx, newGuard)
				return err
			})
		}
		if err != nil {
			return err
		}
		t.registry.MustRegister(t.guard)
		if n.binder != nil && t.guard.on() {
			n.binder.agent.Store(t.guard.agent)
		}
	}
	gatherer := prometheus.Gatherer(t.registry)
	switch {
	case n.edge != nil:
		t.registry.MustRegister(n.region, n.edge, n.keys)
	case n.workers != nil:
		t.registry.MustRegister(n.workers)
		gatherer = n.workers.Gatherer(t.registry)
	default:
		t.registry.MustRegister(n.keys)
	}
	deps := admin.Deps{
		Publisher:  publisher{n.bus},
		Publishers: publishers(n.tokens),
		QuotasOff:  t.guard.off,
		Why:        n.why,
		Numbers:    func() admin.Numbers { return n.numbers.now(t.guard) },
		Ready:      n.ready,
		Gatherer:   gatherer,
		Listener:   n.adminListener,
	}
	if t.guard.on() {
		deps.Quotas = t.guard
	}
	if err := n.patiently(ctx, func() (err error) {
		if t.admin, err = admin.New(n.cfg.Admin, deps, n.log); err != nil {
			return err
		}
		return t.startAdmin(ctx, n)
	}); err != nil {
		return err
	}
	if n.traces != nil {
		n.traces.Open()
	}
	t.registry.MustRegister(append(besides(t.drift, n.traces), n.bus, t.admin)...)
	return nil
}

func (n *node) newGuard(ctx context.Context, make func(config.XDP, string, []kernel.Peer, *slog.Logger, []string) (*guard, error)) (*guard, error) {
	return make(n.cfg.XDP, n.cfg.Bus.Listen, n.brokers(ctx), n.log, n.environ)
}

// loadAhead loads the quotas' program before anything is taken over, since the kernel's verifier takes its time and nobody is served
// meanwhile: attached it is in the tenure. State that is pinned is the other process's until then. If it fails, it is tried there.
func (n *node) loadAhead(ctx context.Context) {
	if n.role == roleWorker || n.cfg.XDP.Pin {
		return
	}
	var err error
	if n.loaded, err = n.newGuard(ctx, loadGuard); err != nil {
		n.log.Info("quotas are loaded in the takeover, not ahead of it", "err", err)
		return
	}
	n.loaded.ahead = true
}

// startAdmin returns when the admin server listens.
func (t *tenure) startAdmin(ctx context.Context, n *node) error {
	srv, failed := t.admin, make(chan error, 1)
	t.running.Go(func() {
		err := srv.Run(ctx)
		failed <- err
		if err != nil {
			select {
			case <-srv.Ready(): // else it is tried again
				n.fail(err)
			default:
			}
		}
	})
	select {
	case <-srv.Ready():
		return nil
	case err := <-failed:
		return err
	}
}

// refreshOnce tells the quotas of the edge's listeners, once they are there.
func (t *tenure) refreshOnce(n *node) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-n.edge.Ready():
			t.guard.refresh()
		case <-ctx.Done():
		}
		return nil
	}
}

// serve runs a part of the tenure.
func (t *tenure) serve(ctx context.Context, n *node, part func(context.Context) error) {
	t.running.Go(func() {
		if err := part(ctx); err != nil {
			n.fail(err)
		}
	})
}

// end gives all up, for good.
func (t *tenure) end() {
	t.halt()
	if t.guard != nil {
		t.guard.close()
	}
}

// halt ends what runs.
func (t *tenure) halt() {
	t.stop()
	t.running.Wait()
}

func (n *node) endTenure() {
	if n.binder != nil {
		n.binder.agent.Store(nil)
	}
	if t := n.tenure.Swap(nil); t != nil {
		t.end()
	}
}

// patiently calls f until it succeeds, in a takeover for a while: the other process may be about to give
// up what f takes.
func (n *node) patiently(ctx context.Context, f func() error) error {
	err := f()
	if !n.takeover {
		return err
	}
	deadline := time.Now().Add(handoverPatience)
	for err != nil && time.Now().Before(deadline) {
		select {
		case <-ctx.Done():
			return err
		case <-time.After(resumePause):
		}
		err = f()
	}
	return err
}

// resumePause is how long it is waited before something is tried again.
const resumePause = 50 * time.Millisecond

// mayRelease says why another process cannot take over.
func (n *node) mayRelease() error {
	if n.role != roleEdge && n.bus.Config().Storage == bus.Memory {
		return bus.ErrInMemory
	}
	return nil
}

// release ends the tenure, for another process to begin it. Quotas stay loaded until that has come to something.
func (n *node) release() (err error) {
	if t := n.tenure.Swap(nil); t != nil {
		if n.binder != nil && n.cfg.XDP.Pin { // the other one tells the same maps
			n.binder.agent.Store(nil)
		}
		t.halt()
		err = t.guard.detach()
		n.loaded = t.guard
	}
	if n.bus == nil {
		return err
	}
	return errors.Join(err, n.bus.Suspend())
}

// unload lets quotas go that were kept for the case that a takeover fails.
func (n *node) unload() {
	if n.binder != nil {
		n.binder.agent.Store(nil)
	}
	if n.loaded != nil {
		n.loaded.close()
		n.loaded = nil
	}
}

// regain undoes release: whoever was to take over has failed, and gives up what it has.
func (n *node) regain() error {
	if n.tenure.Load() != nil {
		return nil
	}
	n.takeover = true // from here on it is as patient as the other
	if err := n.acquire(context.Background()); err != nil {
		err = fmt.Errorf("take back what was released for a takeover: %w", err)
		n.fail(err)
		return err
	}
	return nil
}

// source is the node's region, once there is one.
type source struct {
	at      atomic.Pointer[region.Node]
	running atomic.Bool // it is handed events
}

var errNoRegion = fmt.Errorf("%w: it is still with another process", broker.ErrUnavailable)

// Subscribe implements [edge.Source].
func (s *source) Subscribe(ctx context.Context, t broker.Pattern) (broker.Position, error) {
	if r := s.at.Load(); r != nil {
		return r.Subscribe(ctx, t)
	}
	return broker.Position{}, errNoRegion
}

// Unsubscribe implements [edge.Source].
func (s *source) Unsubscribe(t broker.Pattern) {
	if r := s.at.Load(); r != nil {
		r.Unsubscribe(t)
	}
}

// Recover implements [edge.Source].
func (s *source) Recover(ctx context.Context, t broker.Topic, after broker.Position, limit int) (broker.Recovery, error) {
	if r := s.at.Load(); r != nil {
		return r.Recover(ctx, t, after, limit)
	}
	return broker.Recovery{}, errNoRegion
}

// Heads implements [edge.Source].
func (s *source) Heads(ctx context.Context) (*broker.Heads, error) {
	if r := s.at.Load(); r != nil {
		return r.Heads(ctx)
	}
	return nil, errNoRegion
}

// Settle implements [edge.Source].
func (s *source) Settle(ctx context.Context, heads *broker.Heads) error {
	if r := s.at.Load(); r != nil {
		return r.Settle(ctx, heads)
	}
	return errNoRegion
}

// ReadShard implements [edge.Source].
func (s *source) ReadShard(ctx context.Context, shard int, after, last broker.Position, wanted broker.Wanted) ([]*broker.Event, bool, error) {
	if r := s.at.Load(); r != nil {
		return r.ReadShard(ctx, shard, after, last, wanted)
	}
	return nil, false, errNoRegion
}

func (n *node) watchBus(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-n.bus.Failed():
		return fmt.Errorf("the bus stopped: %w", err)
	}
}

var errNoEdge = errors.New("no client connects to a broker: ask an edge, by --admin")

func (n *node) why(ctx context.Context, client string) (any, error) {
	if n.front == nil {
		return nil, errNoEdge
	}
	return n.front.Why(ctx, client)
}
