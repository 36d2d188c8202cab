package rls

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"weir/gateway/policy"
	"weir/ratelimit"
	"weir/ratelimit/local"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	common "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	pb "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	second = uint64(time.Second) * ratelimit.TicksPerNano
	// start is a time at which nobody owes anything.
	start = 1000 * second
)

// quota is so many in a minute.
func quota(name string, count uint64) ratelimit.Quota {
	return ratelimit.Quota{Name: name, Rate: ratelimit.Rate{Count: count, Per: time.Minute}}
}

// of is a policy, charged by the parts of a key.
func of(tb testing.TB, q ratelimit.Quota, parts ...string) policy.Policy {
	tb.Helper()
	p := policy.Policy{Quota: q}
	for _, text := range parts {
		part, err := policy.ParseKeyPart(text)
		if err != nil {
			tb.Fatal(err)
		}
		p.Key = append(p.Key, part)
	}
	return p
}

func newDeps(tb testing.TB) policy.Deps {
	tb.Helper()
	store, err := local.New(local.Config{Clients: 1024})
	if err != nil {
		tb.Fatal(err)
	}
	return policy.Deps{Local: store, Flight: &policy.Flight{}}
}

func compile(tb testing.TB, deps policy.Deps, policies []policy.Policy, cfg Config) (*Rules, error) {
	tb.Helper()
	p, err := policy.New(policy.Config{Policies: policies}, deps)
	if err != nil {
		tb.Fatal(err)
	}
	return New(cfg, p, deps)
}

// rules are of the domain edge.
func rules(tb testing.TB, deps policy.Deps, policies []policy.Policy, all ...Rule) *Rules {
	tb.Helper()
	r, err := compile(tb, deps, policies, Config{Domains: []Domain{{"edge", all}}})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// match is of keys and values, in turns.
func match(texts ...string) (all []Entry) {
	for i := 0; i < len(texts); i += 2 {
		all = append(all, Entry{texts[i], texts[i+1]})
	}
	return all
}

// one is a descriptor of keys and values, in turns.
func one(texts ...string) *common.RateLimitDescriptor {
	d := &common.RateLimitDescriptor{}
	for i := 0; i < len(texts); i += 2 {
		d.Entries = append(d.Entries, &entry{Key: texts[i], Value: texts[i+1]})
	}
	return d
}

// hits has a descriptor cost so much.
func hits(n uint64, d *common.RateLimitDescriptor) *common.RateLimitDescriptor {
	d.HitsAddend = wrapperspb.UInt64(n)
	return d
}

func request(descriptors ...*common.RateLimitDescriptor) *pb.RateLimitRequest {
	return &pb.RateLimitRequest{Domain: "edge", Descriptors: descriptors}
}

// ask is a call at a time.
func ask(tb testing.TB, r *Rules, now uint64, req *pb.RateLimitRequest) *pb.RateLimitResponse {
	tb.Helper()
	x := &call{}
	x.reset(r)
	allowed, err := x.decide(tb.Context(), now, req)
	if err != nil {
		tb.Fatal(err)
	}
	return x.answer(allowed)
}

func isOK(r *pb.RateLimitResponse) bool { return r.GetOverallCode() == pb.RateLimitResponse_OK }

// shared is a store that others share, and may be gone: then it says what it is told to.
type shared struct {
	mu     sync.Mutex
	limits map[string]*ratelimit.Limit
	store  *local.Store
	gone   error
	open   bool // when it is gone
	asked  int
	before func() // called as it is asked
}

func newShared(tb testing.TB, quotas ...ratelimit.Quota) *shared {
	tb.Helper()
	s := &shared{limits: map[string]*ratelimit.Limit{}, store: newDeps(tb).Local}
	for _, q := range quotas {
		l, err := q.Compile()
		if err != nil {
			tb.Fatal(err)
		}
		s.limits[q.Name] = l
	}
	return s
}

func (s *shared) Limit(name string) *ratelimit.Limit { return s.limits[name] }

func (s *shared) Take(_ context.Context, checks []ratelimit.Check, out []ratelimit.Decision) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.before != nil {
		s.before()
	}
	if s.gone != nil {
		for i := range out {
			out[i] = ratelimit.Decision{Allowed: s.open}
		}
		return s.open, s.gone
	}
	return s.store.Take(start, checks, out), nil
}

func (s *shared) Charge(_ context.Context, checks []ratelimit.Check) error {
	for i := range checks {
		s.store.Charge(start, &checks[i])
	}
	return s.gone
}

type header = core.HeaderValue

// charge is the limit of a policy that some rule of d has.
func (d *domain) charge(name string) *ratelimit.Limit {
	for _, g := range d.groups {
		for _, s := range g.shapes {
			for _, all := range s.rules {
				for _, r := range all {
					for _, c := range r.charges {
						if c.limit.Name() == name {
							return c.limit
						}
					}
				}
			}
		}
	}
	return nil
}

// gatewayKey is that of an address at the gateway.
func gatewayKey(tb testing.TB, address string) []byte {
	tb.Helper()
	p, err := policy.ParseKeyPart("address")
	if err != nil {
		tb.Fatal(err)
	}
	return p.AppendValue(nil, address)
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// get is a request of HTTP that 192.0.2.1 sends for the consumer shop.
func get() *policy.Request {
	return &policy.Request{Method: "GET", Host: "example.com", Path: "/", Fields: head{"X-Api-Key": "secret", "User-Agent": "curl"}, Peer: addr("192.0.2.1"), ContentLength: -1}
}

// head is the fields of one.
type head map[string]string

func (f head) At(name string, i int) (string, bool) {
	v, ok := f[name]
	return v, ok && i == 0
}

// TestMain fails on goroutines that are left, but for those of gnet's pool, which the whole gateway has.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"))
}
