package rls

import (
	"fmt"
	"math"
	"slices"
	"time"

	"weir/gateway/policy"
	"weir/ratelimit"

	common "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	pb "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type entry = common.RateLimitDescriptor_Entry

// ownKey begins the keys of clients that the gateway has not: no [policy.KeyKind] is as high.
const ownKey = 0xfe

// charge is a policy as a rule asks it. It does not change.
type charge struct {
	limit          *ratelimit.Limit
	quota          ratelimit.Quota
	shadow, shared bool
	never          bool // it lets nothing through, as a limit of 0
	own            bool // clients are not those of the gateway
	steps          []step
	// current is the limit as answers have it: it is only read.
	current *pb.RateLimitResponse_RateLimit
}

// step is a part of a client's key: of the at-th entry, or of none.
type step struct {
	part policy.KeyPart
	at   int
	name []byte // before it, in a key of our own
}

func newCharge(name string, r *rule, policies *policy.Rules) (*charge, error) {
	p, limit, ok := policies.Policy(name)
	if !ok {
		return nil, fmt.Errorf("there is no policy %q that can be used", name)
	}
	switch {
	case limit.Unit() == ratelimit.UnitConcurrentRequests:
		return nil, fmt.Errorf("policy %q counts concurrent requests, and Envoy does not say when one ends: use one with a rate", name)
	case r.override && (p.Shared || limit.Unit() != ratelimit.UnitRequests):
		return nil, fmt.Errorf("policy %q is shared, or not of requests, and cannot be overridden: leave out override", name)
	}
	c := &charge{limit: limit, quota: p.Quota, shadow: p.Shadow, shared: p.Shared, current: current(limit)}
	if c.steps = gatewaySteps(p.Key, r); c.steps == nil {
		c.own, c.steps = true, ownSteps(p.Key, r)
	}
	return c, nil
}

// gatewaySteps are those of the gateway's key, nil if the open entries are others than it is made of.
func gatewaySteps(parts []policy.KeyPart, r *rule) (steps []step) {
	var used uint16
	for _, part := range parts {
		if part.Kind == policy.KeyGlobal {
			steps = append(steps, step{part: part, at: -1})
			continue
		}
		at := -1
		for i := range r.match {
			if of, ok := partOf(r.match[i].Key); ok && r.open(i) && used>>i&1 == 0 && of.Kind == part.Kind && of.Name == part.Name {
				at = i
				break
			}
		}
		if at < 0 {
			return nil
		}
		used |= 1 << at
		steps = append(steps, step{part: part, at: at})
	}
	for i := range r.match {
		if r.open(i) && used>>i&1 == 0 {
			return nil
		}
	}
	return steps
}

// ownSteps are those of a key of all open entries.
func ownSteps(parts []policy.KeyPart, r *rule) (steps []step) {
	address := policy.KeyPart{Kind: policy.KeyAddress, IPv4Bits: policy.DefaultIPv4Bits, IPv6Bits: policy.DefaultIPv6Bits}
	if i := slices.IndexFunc(parts, func(p policy.KeyPart) bool { return p.Kind == policy.KeyAddress }); i >= 0 {
		address = parts[i]
	}
	for i := range r.match {
		if !r.open(i) {
			continue
		}
		s := step{part: policy.KeyPart{Kind: policy.KeyField}, at: i, name: appendText(nil, r.match[i].Key)}
		if of, ok := partOf(r.match[i].Key); ok && of.Kind == policy.KeyAddress {
			s.part = address
		}
		steps = append(steps, s)
	}
	return steps
}

// partOf is the part of a gateway's key that entries of a key are.
func partOf(key string) (policy.KeyPart, bool) {
	if key == "remote_address" || key == "masked_remote_address" {
		key = "address"
	}
	p, err := policy.ParseKeyPart(key)
	return p, err == nil
}

// appendKey appends the client's key.
func (c *charge) appendKey(b []byte, entries []*entry) []byte {
	if c.own {
		b = append(b, ownKey)
	}
	for i := range c.steps {
		s := &c.steps[i]
		value := ""
		if s.at >= 0 {
			value = entries[s.at].GetValue()
		}
		b = s.part.AppendValue(append(b, s.name...), value)
	}
	return b
}

var units = [...]struct {
	unit pb.RateLimitResponse_RateLimit_Unit
	long time.Duration
}{
	{pb.RateLimitResponse_RateLimit_DAY, 24 * time.Hour},
	{pb.RateLimitResponse_RateLimit_HOUR, time.Hour},
	{pb.RateLimitResponse_RateLimit_MINUTE, time.Minute},
	{pb.RateLimitResponse_RateLimit_SECOND, time.Second},
}

// current is a limit as answers have it: what RateLimit-Policy has as q and w, with the time in the longest unit that it is
// so many of, rounded up to seconds.
func current(l *ratelimit.Limit) *pb.RateLimitResponse_RateLimit {
	out := &pb.RateLimitResponse_RateLimit{Name: l.Name(), RequestsPerUnit: clip(l.Count())}
	window := max((l.Window()+time.Second-1)/time.Second*time.Second, time.Second)
	for _, u := range units {
		if window%u.long == 0 {
			out.Unit = u.unit
			if n := clip(uint64(window / u.long)); n > 1 { //nolint:gosec // not negative
				out.UnitMultiplier = wrapperspb.UInt32(n)
			}
			break
		}
	}
	return out
}

// clip is n, or as much as there is in 32 bits.
func clip(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) } //nolint:gosec // bounded
