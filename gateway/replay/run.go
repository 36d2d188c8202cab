package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weir/gateway/policy"
	"weir/ratelimit"
)

// longest is how far apart the first and the last request may be: what a clock in ticks has.
const longest = 20 * 365 * 24 * time.Hour

// replay is one under way.
type replay struct {
	cfg       Config
	keys      []policy.KeyPart
	candidate *world
	live      *world // nil if the log says what was
	sources   []*source
	free      []*entry
	lines     lines
	tally     *tally

	// base is what the clock counts from, clock where it is, nanoseconds since 1970.
	base, clock int64
	began       bool
	// forwarded is the name of the field in which proxies say who they forward for.
	forwarded string
	// holds says that it matters when requests end.
	holds  bool
	going  flights
	spare  []*flight
	single flight

	// each is told of each request that was decided, in tests.
	each func(e *entry, candidate, live policy.Outcome)
}

// flight is a request that is under way.
type flight struct {
	r               *replay
	e               *entry
	ends            int64
	q               policy.Request
	candidate, live policy.Exchange
}

// flights is a heap, the one that ends first at 0.
type flights []*flight

func (f *flight) before(other *flight) bool { return f.ends < other.ends }

// Run replays logs. The error wraps one of this package's, what [policy.New] says of the rules, or what a reader or ctx said.
func Run(ctx context.Context, cfg Config, logs ...Source) (*Report, error) {
	r, err := newReplay(cfg, logs)
	if err != nil {
		return nil, err
	}
	if err := r.run(ctx); err != nil {
		return nil, err
	}
	return r.report()
}

func newReplay(cfg Config, logs []Source) (*replay, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &replay{cfg: cfg.withDefaults()}
	if len(logs) == 0 || len(logs) > maxLogs {
		return nil, fmt.Errorf("%w: there are %d logs: want 1 to %d", ErrBadConfig, len(logs), maxLogs)
	}
	candidate, live := r.cfg.worlds()
	var err error
	if r.candidate, err = newWorld(candidate, 8*r.cfg.Clients); err != nil {
		return nil, err
	}
	policies := candidate.Policies
	if live != nil {
		if r.live, err = newWorld(live, 8*r.cfg.Clients); err != nil {
			return nil, err
		}
		policies = slices.Concat(policies, live.Policies)
	}
	r.holds = r.candidate.counts(ratelimit.UnitConcurrentRequests, ratelimit.UnitContentBytes) || r.live.counts(ratelimit.UnitConcurrentRequests, ratelimit.UnitContentBytes)
	r.keys = partsOf(policies)
	for i, from := range logs {
		l, err := newLayout(&r.cfg, r.keys)
		if err != nil {
			return nil, err
		}
		s, err := newSource(from, i, l, r.cfg.Window, max(1, maxHeld/len(logs)), &r.lines, &r.free)
		if err != nil {
			return nil, err
		}
		r.sources = append(r.sources, s)
	}
	r.forwarded = r.candidate.rules.Config().ForwardedField
	r.tally = newTally(&r.cfg, r.keys)
	return r, nil
}

// run decides about all requests, in the order of time.
func (r *replay) run(ctx context.Context) error {
	for {
		var first *source
		var e *entry
		for _, s := range r.sources {
			head, err := s.head(ctx)
			if err != nil {
				return err
			}
			if head != nil && (e == nil || head.begun < e.begun) {
				first, e = s, head
			}
		}
		if e == nil {
			break
		}
		pop(&first.held)
		r.take(e)
	}
	for len(r.going) > 0 {
		r.land()
	}
	return nil
}

// errFar says that a line's time cannot be.
var errFar = errors.New("its time is more than 20 years after that of the first request")

// take has a request decided.
func (r *replay) take(e *entry) {
	if !r.began {
		r.began = true
		const day = int64(24 * time.Hour)
		r.base = e.begun/day*day - day // so that windows begin with the day's, and no request is at 0
		r.clock = e.begun
	}
	if e.begun-r.base > int64(longest) {
		r.lines.note(r.sources[e.source].name, e.line, errFar)
		r.free = append(r.free, e)
		return
	}
	if e.begun < r.clock {
		r.tally.late++
	}
	r.clock = max(r.clock, e.begun)
	for len(r.going) > 0 && r.going[0].ends <= r.clock {
		r.land()
	}
	r.tally.seen(e)
	why, asked := e.asked()
	if !asked {
		r.tally.skip(why)
		r.free = append(r.free, e)
		return
	}
	r.decide(e)
}

// decide has both worlds decide.
func (r *replay) decide(e *entry) {
	f := &r.single
	if r.holds {
		f = r.flight()
	}
	f.r, f.e = r, e
	f.q = policy.Request{Method: e.method, Host: e.host, Path: e.path, Fields: f, Peer: e.client, ContentLength: e.received}
	if len(r.cfg.Rules.Routes) == 0 {
		f.q.Path = "/" // it matters to nobody
	}
	if f.q.Host == "" {
		f.q.Host = r.cfg.Host
	}
	now := r.ticks(r.clock)
	candidate := r.candidate.decide(now, &f.q, e.identity, &f.candidate)
	live, known := e.saidLimited(r.cfg.Statuses)
	if r.live != nil {
		live, known = r.live.decide(now, &f.q, e.identity, &f.live), true
	}
	r.tally.decided(r.clock, e, &f.candidate, candidate, live, known)
	if r.each != nil {
		r.each(e, candidate, live)
	}
	admitted := candidate == policy.Admitted || r.live != nil && live == policy.Admitted
	switch {
	case !admitted && r.holds:
		r.spare = append(r.spare, f)
		fallthrough
	case !admitted:
		r.free = append(r.free, e)
	case !r.holds:
		r.end(f, now)
	default:
		f.ends = r.clock + int64(e.took)
		push(&r.going, f)
	}
}

// flight is one to be used; when there are too many, that which ends first does so now.
func (r *replay) flight() *flight {
	if len(r.going) >= maxFlights {
		r.tally.cut++
		r.land()
	}
	n := len(r.spare)
	if n == 0 {
		return &flight{}
	}
	f := r.spare[n-1]
	r.spare = r.spare[:n-1]
	return f
}

// land ends the request that ends first.
func (r *replay) land() {
	f := pop(&r.going)
	r.end(f, r.ticks(min(f.ends, r.clock)))
	r.spare = append(r.spare, f)
}

// end ends a request in the worlds that admitted it.
func (r *replay) end(f *flight, now uint64) {
	f.candidate.End(now, f.e.received, f.e.sent)
	if r.live != nil {
		f.live.End(now, f.e.received, f.e.sent)
	}
	r.free = append(r.free, f.e)
	f.e = nil
}

func (r *replay) ticks(at int64) uint64 {
	return uint64(at-r.base) * ratelimit.TicksPerNano //nolint:gosec // the clock is not before base
}

// At implements [policy.Fields]: it is what a line has of a request's head.
func (f *flight) At(name string, i int) (string, bool) {
	if i > 0 {
		return "", false
	}
	for i, part := range f.r.keys {
		if nameOf(part) == name && f.e.keys[i] != "" {
			return f.e.keys[i], true
		}
	}
	if f.e.forwarded != "" && name == f.r.forwarded {
		return f.e.forwarded, true
	}
	return "", false
}

// nameOf is the name of a field by which a part of a key is asked for.
func nameOf(part policy.KeyPart) string {
	if part.Kind == policy.KeyField {
		return part.Name
	}
	return part.String()
}

// saidLimited is what the log says that became of a request.
func (e *entry) saidLimited(statuses []int) (o policy.Outcome, known bool) {
	if e.decided {
		return e.outcome, true
	}
	if slices.Contains(statuses, e.status) {
		return policy.Limited, true
	}
	return policy.Admitted, e.status != 0
}
