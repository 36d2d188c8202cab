package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// resolveTimeout bounds one round of lookups.
const resolveTimeout = 5 * time.Second

// resolveRetry is when Run tries again after a lookup that failed, if it would not sooner.
const resolveRetry = 5 * time.Second

// Resolve resolves the names of servers once, and makes their addresses the pool's servers at now. It blocks up to 5 s.
// Where a name cannot be resolved, or has no address, what it had before stays, which is counted; the error says which,
// joined, each wrapping [ErrResolve]. Run does the same at its start and each Config.Resolve: to be called before
// serving, where requests are not to find an empty pool.
func (p *Pool) Resolve(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	start := time.Now()
	type answer struct {
		name string
		to   []netip.AddrPort
		err  error
	}
	names := p.names()
	answers := make(chan answer, len(names))
	for _, name := range names {
		go func() {
			to, err := p.lookUp(ctx, name)
			answers <- answer{name, to, err}
		}()
	}
	var errs []error
	found := map[string][]netip.AddrPort{}
	for range names {
		if a := <-answers; a.err != nil {
			errs = append(errs, fmt.Errorf("%w %s: %w: check the name and the resolver of this host", ErrResolve, a.name, a.err))
		} else {
			found[a.name] = a.to
		}
	}
	p.adopt(found, len(errs), p.at(now.Add(time.Since(start))))
	return errors.Join(errs...)
}

// names are the servers' addresses that have to be resolved.
func (p *Pool) names() (names []string) {
	for _, s := range p.set.Load().cfg.Servers {
		if _, ok := literal(s.Address); !ok {
			names = append(names, s.Address)
		}
	}
	return names
}

// lookUp is what a host:port stands for, in order.
func (p *Pool) lookUp(ctx context.Context, name string) ([]netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	ips, err := p.env.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(ips) == 0 {
		return nil, &net.DNSError{Err: "no addresses", Name: host}
	}
	to := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		to = append(to, netip.AddrPortFrom(ip.Unmap(), uint16(n)))
	}
	// In order, so that answers in another one are the same.
	slices.SortFunc(to, netip.AddrPort.Compare)
	return slices.Compact(to), nil
}

// adopt takes what names were resolved to.
func (p *Pool) adopt(found map[string][]netip.AddrPort, failures int, at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counters.ResolveFailures += uint64(failures) //nolint:gosec // not negative
	changed := false
	for _, s := range p.cfg.Servers { // of the Config there is now
		if to, ok := found[s.Address]; ok && !slices.Equal(to, p.resolved[s.Address]) {
			p.resolved[s.Address] = to
			changed = true
		}
	}
	if !changed {
		return
	}
	p.reconcile(at)
	p.advance(at)
	p.wake()
}
