package rls

import (
	"math/rand/v2"
	"strings"

	"weir/ratelimit/fields"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	pb "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// answer makes the answer of a call that was decided. It is the caller's: nothing of it is used again, but for the limits in it,
// which nobody changes.
func (x *call) answer(allowed bool) *pb.RateLimitResponse {
	out := &pb.RateLimitResponse{OverallCode: pb.RateLimitResponse_OK, Statuses: make([]*pb.RateLimitResponse_DescriptorStatus, x.n)}
	if !allowed {
		out.OverallCode = pb.RateLimitResponse_OVER_LIMIT
	}
	statuses := make([]pb.RateLimitResponse_DescriptorStatus, x.n)
	for i := range x.n {
		s, f := &statuses[i], &x.found[i]
		out.Statuses[i] = s
		s.Code = pb.RateLimitResponse_OK
		if f.result = x.resultOf(f); f.result == resultOverLimit {
			s.Code = pb.RateLimitResponse_OVER_LIMIT
		}
		if at := x.tightest(f.checks); at >= 0 {
			d := &x.decisions[at]
			s.CurrentLimit, s.LimitRemaining = x.of[at].current, clip(d.Remaining)
			s.DurationUntilReset = durationpb.New(d.Reset)
		}
	}
	if x.rules.cfg.Tell != TellNone {
		out.ResponseHeadersToAdd = x.headers(allowed)
	}
	return out
}

// headers are what the client is told. Of a policy that was charged for two clients there is the one with the least left.
func (x *call) headers(allowed bool) (all []*core.HeaderValue) {
	var policies, limits []byte
	var told uint16
	for i := range MaxChecks {
		if !x.said(i) {
			continue
		}
		var same uint16
		for j := range MaxChecks {
			if x.said(j) && x.of[j].limit.Name() == x.of[i].limit.Name() {
				same |= 1 << j
			}
		}
		if at := x.tightest(same); told&same == 0 {
			policies = fields.AppendPolicy(policies, x.of[at].limit)
			limits = fields.AppendLimit(limits, x.of[at].limit, x.decisions[at])
		}
		told |= same
	}
	if told == 0 {
		return nil
	}
	add := func(name, value string) { all = append(all, &core.HeaderValue{Key: name, Value: value}) }
	add("ratelimit-policy", string(policies))
	add("ratelimit", string(limits))
	at := x.tightest(told)
	if x.rules.cfg.Tell == TellBoth {
		for line := range strings.SplitSeq(string(fields.AppendOld(nil, x.of[at].limit, x.decisions[at])), "\r\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				add(strings.ToLower(name), value)
			}
		}
	}
	if !allowed {
		if wait, ok := fields.AppendRetryAfter(nil, x.decisions[at].RetryAfter, rand.Uint32()); ok { //nolint:gosec // it spreads, and hides nothing
			add("retry-after", string(wait))
		}
	}
	return all
}
