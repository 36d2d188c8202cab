package rls

import (
	"bytes"
	"context"
	"strings"

	"weir/ratelimit"

	common "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	pb "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Errors of a call, which Envoy takes as its failure_mode_deny says.
var (
	errNoDomain     = status.Error(codes.InvalidArgument, "the domain is empty: set domain in Envoy's rate limit filter")
	errNoDescriptor = status.Error(codes.InvalidArgument, "there are no descriptors: want 1 to 64")
	errDescriptors  = status.Error(codes.InvalidArgument, "there are more than 64 descriptors: send fewer in one call")
	errChecks       = status.Error(codes.InvalidArgument, "the descriptors are charged to more than 16 budgets: send fewer in one call, or name fewer policies")
	errNegative     = status.Error(codes.Unimplemented, "is_negative_hits is set: what was charged is not given back: leave it out, and charge what is known only later by a rule that is late")
)

// call is the state of one call, used for one after another, on one goroutine at a time.
type call struct {
	shard   uint32 // of what is counted; sync.Pool keeps calls by CPU
	rules   *Rules
	entries [MaxEntries]*entry
	n       int // descriptors
	found   [MaxDescriptors]found
	// The checks of this process are the first of MaxChecks, those of the shared store the last: each lie together.
	local, shared int
	checks        [MaxChecks]ratelimit.Check
	decisions     [MaxChecks]ratelimit.Decision
	of            [MaxChecks]*charge
	late          [MaxChecks]uint64 // what is charged whatever is left
	keyed         [MaxChecks][2]int // begin and end of its key in keys
	owed          [MaxChecks]ratelimit.Check
	// asked says that the shared store has been, gone that it did not answer and a policy refused for that.
	asked, gone bool
	overridden  [2]uint64 // limits of descriptors: honored, ignored
	keys, buf   []byte
}

// found is what was found for a descriptor.
type found struct {
	result result
	checks uint16 // a bit for each
}

// maxKept bounds what is kept of a buffer from one call to the next, bytes.
const maxKept = 16 << 10

// reset forgets the call before.
func (x *call) reset(r *Rules) {
	for i := range MaxChecks {
		if x.of[i] != nil {
			x.checks[i], x.of[i] = ratelimit.Check{}, nil
			x.decisions[i], x.late[i] = ratelimit.Decision{}, 0
		}
	}
	clear(x.entries[:])
	clear(x.owed[:])
	x.rules, x.n, x.local, x.shared, x.asked, x.gone, x.overridden = r, 0, 0, 0, false, false, [2]uint64{}
	x.keys, x.buf = x.keys[:0], x.buf[:0]
	if cap(x.keys)+cap(x.buf) > maxKept {
		x.keys, x.buf = nil, nil
	}
}

// decide decides about a call at now, ticks. The error is a status of gRPC; then nobody was charged.
func (x *call) decide(ctx context.Context, now uint64, req *pb.RateLimitRequest) (allowed bool, err error) {
	if err := x.prepare(req); err != nil {
		return false, err
	}
	allowed = x.take(ctx, now)
	x.chargeLate(ctx, now)
	return allowed, nil
}

// prepare makes the checks of all descriptors.
func (x *call) prepare(req *pb.RateLimitRequest) error {
	descriptors := req.GetDescriptors()
	switch {
	case req.GetDomain() == "":
		return errNoDomain
	case len(descriptors) == 0:
		return errNoDescriptor
	case len(descriptors) > MaxDescriptors:
		return errDescriptors
	}
	hits := max(uint64(req.GetHitsAddend()), 1)
	d := x.rules.domains[req.GetDomain()]
	x.n = len(descriptors)
	for i, descriptor := range descriptors {
		x.found[i] = found{result: resultUnknownDomain}
		if d == nil {
			continue
		}
		if err := x.match(d, descriptor, hits, &x.found[i]); err != nil {
			return err
		}
	}
	x.lendKeys()
	return nil
}

// match finds the rule of a descriptor, and makes its checks.
func (x *call) match(d *domain, descriptor *common.RateLimitDescriptor, hits uint64, f *found) error {
	f.result = resultUnmatched
	entries := descriptor.GetEntries()
	if len(entries) > MaxEntries || len(entries) == 0 {
		return nil
	}
	sorted := x.entries[:len(entries)]
	copy(sorted, entries)
	for i := 1; i < len(sorted); i++ { // few, and those of the same key stay in their order
		for at := i; at > 0 && strings.Compare(sorted[at].GetKey(), sorted[at-1].GetKey()) < 0; at-- {
			sorted[at], sorted[at-1] = sorted[at-1], sorted[at]
		}
	}
	var r *rule
	if r, x.buf = d.find(sorted, x.buf); r == nil {
		return nil
	}
	if h := descriptor.GetHitsAddend(); h != nil {
		hits = h.GetValue()
	}
	if descriptor.GetIsNegativeHits() && hits > 0 {
		return errNegative
	}
	f.result = resultAllowed
	for _, c := range r.charges {
		if l := descriptor.GetLimit(); l != nil {
			c = x.override(r, c, l)
		}
		i, ok := x.add(c, sorted, min(hits, MaxHits), r.late)
		if !ok {
			return errChecks
		}
		f.checks |= 1 << i
	}
	return nil
}

func (x *call) override(r *rule, c *charge, l *common.RateLimitDescriptor_RateLimitOverride) *charge {
	if r.override {
		if other, ok := x.rules.overrides.charge(c, l); ok {
			x.overridden[0]++
			return other
		}
	}
	x.overridden[1]++
	return c
}

// add makes a check, or adds to one of the same budget; ok is false if there are too many.
func (x *call) add(c *charge, entries []*entry, hits uint64, late bool) (at int, ok bool) {
	if c.never {
		hits = max(hits, c.limit.Count()+1)
	}
	cost, owed := hits, uint64(0)
	if late {
		cost, owed = 0, hits
	}
	start := len(x.keys)
	x.keys = c.appendKey(x.keys, entries)
	key := x.keys[start:]
	for i := range MaxChecks {
		if x.of[i] == nil || x.of[i].limit != c.limit || !bytes.Equal(key, x.keys[x.keyed[i][0]:x.keyed[i][1]]) {
			continue
		}
		x.keys = x.keys[:start]
		x.checks[i].Cost, x.late[i] = min(x.checks[i].Cost+cost, MaxHits), min(x.late[i]+owed, MaxHits)
		return i, true
	}
	if x.local+x.shared == MaxChecks {
		return 0, false
	}
	if c.shared {
		x.shared++
		at = MaxChecks - x.shared
	} else {
		at = x.local
		x.local++
	}
	x.of[at], x.keyed[at] = c, [2]int{start, len(x.keys)}
	x.checks[at], x.late[at] = ratelimit.Check{Limit: c.limit, Cost: cost, Shadow: c.shadow}, owed
	return at, true
}

// lendKeys gives the checks their keys: keys has stopped growing, which moves it.
func (x *call) lendKeys() {
	for i := range MaxChecks {
		if x.of[i] != nil {
			x.checks[i].Key = x.keys[x.keyed[i][0]:x.keyed[i][1]:x.keyed[i][1]]
		}
	}
}

// take decides about all checks, and charges them if all allow it.
func (x *call) take(ctx context.Context, now uint64) bool {
	if x.shared == 0 {
		return x.takeLocal(now)
	}
	if !x.peekLocal(now) {
		return false
	}
	x.asked = true
	theirs := MaxChecks - x.shared
	allowed, err := x.rules.deps.Shared.Take(ctx, x.checks[theirs:], x.decisions[theirs:])
	x.gone = err != nil && !allowed
	// If what those of this process allowed is gone by now, the others have charged a call that is refused.
	return allowed && x.takeLocal(now)
}

func (x *call) takeLocal(now uint64) bool {
	return x.local == 0 || x.rules.deps.Local.Take(now, x.checks[:x.local], x.decisions[:x.local])
}

func (x *call) peekLocal(now uint64) (allowed bool) {
	allowed = true
	for i := range x.local {
		x.decisions[i] = x.rules.deps.Local.Peek(now, &x.checks[i])
		allowed = allowed && (x.decisions[i].Allowed || x.checks[i].Shadow)
	}
	return allowed
}

// chargeLate charges what is late, whatever was decided.
func (x *call) chargeLate(ctx context.Context, now uint64) {
	owed := x.owed[:0]
	for i := range MaxChecks {
		if x.late[i] == 0 {
			continue
		}
		c := x.checks[i]
		c.Cost = x.late[i]
		x.decisions[i].Remaining -= min(x.decisions[i].Remaining, c.Cost)
		if i < x.local {
			x.rules.deps.Local.Charge(now, &c)
			continue
		}
		owed = append(owed, c)
	}
	if len(owed) > 0 {
		// Envoy does not wait for what it reports; the store bounds its own time.
		_ = x.rules.deps.Shared.Charge(context.WithoutCancel(ctx), owed) // what is gone does not count
	}
}

// tell tells what the policies said that were asked: those of the shared store are not if one of this process has refused.
func (x *call) tell(decided func(shard uint32, policy string, shadow, allowed bool)) {
	if decided == nil {
		return
	}
	for i := range MaxChecks {
		if x.decided(i) {
			decided(x.shard, x.of[i].quota.Name, x.of[i].shadow, x.decisions[i].Allowed)
		}
	}
}

// decided reports whether the i-th check has a decision.
func (x *call) decided(i int) bool { return x.of[i] != nil && (i < x.local || x.asked) }

// said reports whether the i-th check has a decision that is told to clients.
func (x *call) said(i int) bool { return x.decided(i) && !x.of[i].shadow }

// tightest is the check of some that says the most: one that refuses, with the longest wait, else the one of which the least part is
// left; -1 for none.
func (x *call) tightest(checks uint16) (at int) {
	at = -1
	for i := range MaxChecks {
		if checks>>i&1 != 0 && x.said(i) && (at < 0 || x.tighter(i, at)) {
			at = i
		}
	}
	return at
}

func (x *call) tighter(a, b int) bool {
	d, e := &x.decisions[a], &x.decisions[b]
	switch {
	case d.Allowed != e.Allowed:
		return !d.Allowed
	case !d.Allowed:
		return d.RetryAfter > e.RetryAfter
	}
	part := func(i int) float64 {
		return float64(x.decisions[i].Remaining) / float64(max(x.of[i].limit.Count(), 1))
	}
	return part(a) < part(b)
}

// resultOf is what became of a descriptor.
func (x *call) resultOf(f *found) result {
	if f.result != resultAllowed {
		return f.result
	}
	out := resultAllowed
	for i := range MaxChecks {
		if f.checks>>i&1 == 0 || x.decisions[i].Allowed || i >= x.local && !x.asked {
			continue
		}
		if !x.of[i].shadow {
			return resultOverLimit
		}
		out = resultShadow
	}
	return out
}
