package rls

import (
	"math/bits"
	"sync"
	"time"

	"weir/ratelimit"

	common "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	pb "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	types "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// maxOverrides bounds how many limits of descriptors are remembered. Past it they are all forgotten, and compiled again.
const maxOverrides = 4096

// overrides are the limits that descriptors had, compiled.
type overrides struct {
	mu sync.RWMutex
	of map[override]*charge
}

// override is a limit that took the place of a policy's.
type override struct {
	base     *charge
	requests uint32
	unit     types.RateLimitUnit
	times    uint32
}

// lengths are those that a calendar does not change; a month is 30 days, a year 365, as with envoyproxy/ratelimit.
var lengths = map[types.RateLimitUnit]time.Duration{
	types.RateLimitUnit_SECOND: time.Second, types.RateLimitUnit_MINUTE: time.Minute, types.RateLimitUnit_HOUR: time.Hour,
	types.RateLimitUnit_DAY: 24 * time.Hour, types.RateLimitUnit_MONTH: 30 * 24 * time.Hour, types.RateLimitUnit_YEAR: 365 * 24 * time.Hour,
}

// charge is a policy with a descriptor's limit in place of its own. ok is false for one that cannot be counted.
func (o *overrides) charge(base *charge, l *common.RateLimitDescriptor_RateLimitOverride) (_ *charge, ok bool) {
	key := override{base, l.GetRequestsPerUnit(), l.GetUnit(), 1}
	if m := l.GetUnitMultiplier(); m != nil {
		key.times = m.GetValue()
	}
	o.mu.RLock()
	c, ok := o.of[key]
	o.mu.RUnlock()
	if ok {
		return c, c != nil
	}
	c = key.compile()
	o.mu.Lock()
	defer o.mu.Unlock()
	if other, ok := o.of[key]; ok { // so that all have the same limit
		return other, other != nil
	}
	if o.of == nil || len(o.of) >= maxOverrides {
		o.of = map[override]*charge{}
	}
	o.of[key] = c
	return c, c != nil
}

// compile is nil for what cannot be counted.
func (o override) compile() *charge {
	hi, per := bits.Mul64(uint64(lengths[o.unit]), uint64(o.times))
	if hi != 0 || per == 0 || per > 1<<62 {
		return nil
	}
	q := o.base.quota
	q.Burst, q.Rate = 0, ratelimit.Rate{Count: max(uint64(o.requests), 1), Per: time.Duration(per)} //nolint:gosec // bounded
	limit, err := q.Compile()
	if err != nil {
		return nil
	}
	c := *o.base
	c.limit, c.never = limit, o.requests == 0
	c.current = &pb.RateLimitResponse_RateLimit{
		Name: limit.Name(), RequestsPerUnit: o.requests, Unit: pb.RateLimitResponse_RateLimit_Unit(o.unit),
	}
	if o.times > 1 {
		c.current.UnitMultiplier = wrapperspb.UInt32(o.times)
	}
	return &c
}
