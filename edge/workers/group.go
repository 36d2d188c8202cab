package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/edge"
	"weir/edge/loop"

	"github.com/prometheus/client_golang/prometheus"
)

// Options are what a group is made of.
type Options struct {
	// Workers is how many there are, 1 to MaxWorkers.
	Workers int
	// Listen is the address that they serve, host:port; TLSListen that for TLS, empty: none.
	Listen, TLSListen string
	// Command is a process that calls [Join], not started. It is called for each start of a worker.
	Command func() *exec.Cmd
	// Config is what is sent to a worker that starts, as Task.Config.
	Config func() ([]byte, error)
	// Listeners is called for a worker that serves, with where its listeners belong, each time that one
	// was started, and for several at once. Each CPU has width listeners at most. There are no places
	// where CPUs cannot be shared evenly. The descriptors are closed when it returns. May be nil.
	Listeners func(worker int, places []Place, width int)
	// StopTimeout bounds the time that a worker may take to end once it is told to.
	StopTimeout time.Duration
}

// Group is the workers, as the process that runs them has them. Its methods may be called from any
// goroutine.
type Group struct {
	opts    Options
	log     *slog.Logger
	cpus    []int
	addr    atomic.Pointer[net.TCPAddr]
	tlsAddr atomic.Pointer[net.TCPAddr]
	ready   chan struct{} // closed once all have served
	spawner *spawner

	restarts   prometheus.Counter
	unanswered prometheus.Counter

	mu      sync.Mutex
	workers []*process // by number; nil: it does not serve now
	served  []bool     // ever
	past    past       // what those counted that are gone
	known   []past     // what each that runs had counted when it last answered
}

// past is what was counted.
type past struct {
	stats    edge.Stats
	families []Family
}

// New returns a group of which nothing runs before [Group.Run].
func New(opts Options, log *slog.Logger) (*Group, error) {
	if err := (Config{Workers: opts.Workers}).Validate(); err != nil || opts.Workers == 0 {
		return nil, errors.Join(err, errors.New("a group needs a worker"))
	}
	return &Group{
		opts: opts, log: log, cpus: ownCPUs(), ready: make(chan struct{}),
		restarts:   prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_edge_worker_restarts_total", Help: "Workers that ended by themselves, and were started again."}),
		unanswered: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_edge_worker_unanswered_total", Help: "Times that a worker did not answer within 1 s, and what it holds was left out."}),
		workers:    make([]*process, opts.Workers),
		served:     make([]bool, opts.Workers),
		known:      make([]past, opts.Workers),
	}, nil
}

// Run serves until ctx ends, and has the workers drain then. It returns when the last one has ended. A
// worker that ends before all have served once is an error, later ones are started again.
func (g *Group) Run(ctx context.Context) error {
	held, err := loop.Hold("edge.listen", g.opts.Listen)
	if err != nil {
		return err
	}
	defer held.Close()
	g.addr.Store(held.Addr())
	if g.opts.TLSListen != "" {
		held, err := loop.Hold("edge.tls_listen", g.opts.TLSListen)
		if err != nil {
			return err
		}
		defer held.Close()
		g.tlsAddr.Store(held.Addr())
	}
	g.spawner = newSpawner()
	defer g.spawner.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i := range g.opts.Workers {
		wg.Go(func() {
			if err := g.supervise(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// supervise keeps a worker running until ctx ends.
func (g *Group) supervise(ctx context.Context, i int) error {
	for pause := backoffFirst; ctx.Err() == nil; {
		began := time.Now()
		err := g.runWorker(ctx, i)
		if ctx.Err() != nil {
			if err != nil {
				g.log.Warn("worker did not end well", "worker", i, "err", err)
			}
			return nil
		}
		if !g.isReady() {
			return fmt.Errorf("worker %d ended before it served, its log lines say why: %w", i, err)
		}
		if time.Since(began) >= backoffLast {
			pause = backoffFirst
		}
		g.restarts.Inc()
		g.log.Error("a worker ended, and is started again", "worker", i, "pause", pause, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, backoffLast)
	}
	return nil
}

// Ready is closed once all workers have served.
func (g *Group) Ready() <-chan struct{} { return g.ready }

func (g *Group) isReady() bool {
	select {
	case <-g.ready:
		return true
	default:
		return false
	}
}

// TLSAddr is the address served over TLS, nil if there is none or before Run found it.
func (g *Group) TLSAddr() net.Addr {
	if a := g.tlsAddr.Load(); a != nil {
		return a
	}
	return nil
}

// Addr is the address served, nil before Run found it.
func (g *Group) Addr() net.Addr {
	if a := g.addr.Load(); a != nil {
		return a
	}
	return nil
}

// serves takes in a worker that serves.
func (g *Group) serves(p *process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.workers[p.number] = p
	g.served[p.number] = true
	if g.isReady() || slices.Contains(g.served, false) {
		return
	}
	conns := 0
	for _, each := range g.workers {
		if each != nil {
			conns += each.maxConns
		}
	}
	g.log.Info("all workers serve", "addr", g.addr.Load(), "workers", g.opts.Workers, "max_conns", conns)
	close(g.ready)
}

// gone takes out a worker that has ended, whose counters are kept.
func (g *Group) gone(i int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.workers[i] = nil
	last := &g.known[i]
	rest := last.stats.Past()
	g.past.stats.Merge(&rest)
	sums := totals{}
	sums.add(g.past.families, false)
	sums.add(last.families, false)
	g.past.families = sums.families()
	*last = past{}
}

// PIDs are the processes that serve now.
func (g *Group) PIDs() (all []int) {
	for _, p := range g.serving() {
		all = append(all, p.pid)
	}
	return all
}

// serving are the workers that serve now.
func (g *Group) serving() (all []*process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.workers {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}
