package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"weir/cmd/weir/config"
	"weir/gateway/access"
	"weir/gateway/policy"
	"weir/gateway/trace"
	"weir/ratelimit/redis"
)

// accessLog is a log of accesses, with the file that it goes to.
type accessLog struct {
	*access.Log
	file *access.File // nil for the standard output
	out  io.Writer
}

// openAccessLog opens the log of accesses; nil if there is to be none.
func openAccessLog(cfg config.Gateway, stdout io.Writer, log *slog.Logger) (*accessLog, error) {
	if cfg.AccessLog == "" {
		return nil, nil //nolint:nilnil // without one
	}
	l, err := access.NewLog(access.LogConfig{Sample: cfg.Sample, Refused: true, Failed: true})
	if err != nil {
		return nil, fmt.Errorf("gateway.access_log_sample: %w", err)
	}
	a := &accessLog{Log: l, out: stdout}
	if cfg.AccessLog != "-" {
		if a.file, err = access.OpenFile(cfg.AccessLog); err != nil {
			return nil, err
		}
		a.out = a.file
	}
	a.out = &complaining{Writer: a.out, log: log}
	return a, nil
}

// reopen opens the file anew, which may have been moved away.
func (a *accessLog) reopen() error {
	if a == nil || a.file == nil {
		return nil
	}
	return a.file.Reopen()
}

// run writes until ctx ends, then what waits.
func (a *accessLog) run(ctx context.Context) {
	a.Run(ctx.Done(), a.out)
	if a.file != nil {
		_ = a.file.Close() // what was written is the kernel's
	}
}

// complaining is a writer whose failures are logged, now and then. One goroutine.
type complaining struct {
	io.Writer
	log  *slog.Logger
	last time.Time
}

// complainEvery is how often.
const complainEvery = time.Minute

// Write implements [io.Writer].
func (c *complaining) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	if now := time.Now(); err != nil && now.Sub(c.last) >= complainEvery {
		c.last = now
		c.log.Warn("the access log cannot be written: lines are lost, and counted", "err", err)
	}
	return n, err
}

// newTracer makes what traces requests; nil if nothing is to.
func newTracer(cfg config.Gateway) (*trace.Tracer, error) {
	if cfg.Trace.Endpoint == "" {
		return nil, nil //nolint:nilnil // without one
	}
	traced := cfg.Trace
	traced.Version = version()
	return trace.New(traced)
}

// watchTracer says now and then why spans are lost, until ctx ends.
func watchTracer(ctx context.Context, t *trace.Tracer, log *slog.Logger) {
	tick := time.NewTicker(complainEvery)
	defer tick.Stop()
	var told uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if s := t.Stats(); s.Failed+s.Dropped > told {
				log.Warn("spans of requests are lost: see gateway.trace_endpoint", "failed", s.Failed, "dropped", s.Dropped, "err", s.LastError)
				told = s.Failed + s.Dropped
			}
		}
	}
}

// sharing is a store of shared policies that runs.
type sharing struct {
	store *redis.Store
	stop  context.CancelFunc
	ended chan struct{}
}

// share makes the store of a plan's shared policies. Its leases are looked after until it is closed.
func share(cfg redis.Config, policies []redis.Policy) (*sharing, error) {
	if len(cfg.Addresses) == 0 {
		return nil, fmt.Errorf("policies.%s has store: shared, and there is no Redis: set redis.addresses", policies[0].Quota.Name)
	}
	store, err := redis.New(cfg, policies)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &sharing{store, stop, make(chan struct{})}
	go func() {
		store.Run(ctx)
		close(s.ended)
	}()
	return s, nil
}

// close gives back what is leased, and ends.
func (s *sharing) close() {
	s.stop()
	<-s.ended
	s.store.Close()
}

// bound is what may be let through beyond a shared policy, as the API and weir doctor say it. Units.
type bound struct {
	// Lease and Late are while Redis is there, Failover when it is replaced or comes back, Fallback while it is gone.
	Lease    uint64 `json:"lease"`
	Late     uint64 `json:"late"`
	Failover uint64 `json:"failover"`
	Fallback uint64 `json:"fallback"`
	// Most is all of them; 0 if there is no bound, as the policy is open while Redis is gone.
	Most uint64 `json:"most,omitempty"`
	Open bool   `json:"open,omitempty"`
}

// boundOf is that of a policy.
func boundOf(store *redis.Store, name string) bound {
	b := store.Bound(name)
	most, _ := store.Overshoot(name)
	return bound{b.Lease, b.Late, b.Failover, b.Fallback, most, b.Open}
}

// withStore has a plan keep its shared policies in Redis, if it has any, and counted.
func withStore(cfg redis.Config, p *config.Plan, metrics *redis.Metrics) {
	if len(p.SharedPolicies) == 0 {
		return
	}
	var made *sharing
	p.Shared = func() (policy.Shared, func(), error) {
		var err error
		if made, err = share(cfg, p.SharedPolicies); err != nil {
			return nil, nil, err
		}
		s := made
		metrics.Add(s.store)
		return s.store, func() { s.close(); metrics.Remove(s.store) }, nil
	}
	p.Bound = func(name string) any { return boundOf(made.store, name) }
}
