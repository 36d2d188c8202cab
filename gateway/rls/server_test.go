package rls

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/gateway/policy"

	common "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	pb "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// patience bounds all waiting of tests.
const patience = 10 * time.Second

// serve runs a Server on a free port; stop ends it.
func serve(t *testing.T, cfg ServerConfig, r *Rules) (s *Server, stop func()) {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	s = NewServer(cfg, r, func() uint64 { return start })
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			t.Error("the server does not end")
		}
	})
	t.Cleanup(stop)
	return s, stop
}

// dial is a conn to it.
func dial(t *testing.T, s *Server) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(s.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// series are the counters of a Server by name and label.
func series(t *testing.T, s *Server) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(s)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "weir_gateway_rls_")
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			all[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

// TestWhatPoliciesSayIsTold has a call that policies of this process and of the shared store decide, one of them in shadow: who was
// not asked said nothing.
func TestWhatPoliciesSayIsTold(t *testing.T) {
	deps := newDeps(t)
	deps.Shared = newShared(t, quota("theirs", 9))
	r := rules(t, deps, []policy.Policy{{Quota: quota("two", 2)}, {Quota: quota("dark", 1), Shadow: true}, {Quota: quota("theirs", 9), Shared: true}},
		Rule{Match: match("remote_address", ""), Policies: []string{"two", "dark", "theirs"}}, Rule{Match: match("a", ""), Policies: []string{"two"}})
	var mu sync.Mutex
	got := map[string]int{}
	s, _ := serve(t, ServerConfig{Decided: func(shard uint32, name string, shadow, allowed bool) {
		mu.Lock()
		defer mu.Unlock()
		if shard == 0 {
			t.Error("a call has no shard")
		}
		got[fmt.Sprint(name, " ", shadow, " ", allowed)]++
	}}, r)
	c := pb.NewRateLimitServiceClient(dial(t, s))
	ask := func(d ...*common.RateLimitDescriptor) {
		if _, err := c.ShouldRateLimit(within(t), request(d...)); err != nil {
			t.Error(err)
		}
	}
	for range 3 {
		ask(one("remote_address", "1.1.1.1"))
	}
	ask(one("a", "x"), one("a", "y"), one("unknown", "z")) // two clients of one policy
	if _, err := c.ShouldRateLimit(within(t), &pb.RateLimitRequest{}); err == nil {
		t.Error("a call without a domain is decided")
	}
	want := map[string]int{"two false true": 4, "two false false": 1, "dark true true": 1, "dark true false": 2, "theirs false true": 2}
	mu.Lock()
	defer mu.Unlock()
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestAnEnvoyIsServedAndItsCallsCounted(t *testing.T) {
	r := rules(t, newDeps(t), []policy.Policy{{Quota: quota("two", 2)}, {Quota: quota("dark", 1), Shadow: true}},
		Rule{Match: match("remote_address", ""), Policies: []string{"two"}}, Rule{Match: match("dark", ""), Policies: []string{"dark"}})
	s, _ := serve(t, ServerConfig{}, r)
	c := pb.NewRateLimitServiceClient(dial(t, s))
	for i, want := range []pb.RateLimitResponse_Code{pb.RateLimitResponse_OK, pb.RateLimitResponse_OK, pb.RateLimitResponse_OVER_LIMIT} {
		res, err := c.ShouldRateLimit(within(t), request(one("remote_address", "1.1.1.1"), one("other", "x")))
		if err != nil || res.GetOverallCode() != want || len(res.GetStatuses()) != 2 {
			t.Errorf("%d: %v, %v", i, res, err)
		}
	}
	if res, err := c.ShouldRateLimit(within(t), request(hits(9, one("dark", "x")))); err != nil || !isOK(res) {
		t.Errorf("in shadow: %v, %v", res, err)
	}
	for _, domain := range []string{"elsewhere", ""} {
		_, err := c.ShouldRateLimit(within(t), &pb.RateLimitRequest{Domain: domain, Descriptors: []*common.RateLimitDescriptor{one("a", "b")}})
		if (err == nil) != (domain != "") {
			t.Errorf("domain %q: %v", domain, err)
		}
	}
	got := series(t, s)
	for name, want := range map[string]float64{
		"requests_total ok": 4, "requests_total over_limit": 1, "requests_total invalid": 1, "requests_total unavailable": 0,
		"descriptors_total allowed": 2, "descriptors_total over_limit": 1, "descriptors_total unmatched": 3, "descriptors_total shadow": 1,
		"descriptors_total unknown_domain": 1, "overrides_total honored": 0, "overrides_total ignored": 0, "seconds": 6, "conns": 1, "conns_refused_total": 0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, %v: want %v", name, v, ok, want)
		}
	}
}

func TestItsHealthIsTold(t *testing.T) {
	s, _ := serve(t, ServerConfig{}, rules(t, newDeps(t), nil))
	for _, service := range []string{"", "envoy.service.ratelimit.v3.RateLimitService"} {
		res, err := health.NewHealthClient(dial(t, s)).Check(within(t), &health.HealthCheckRequest{Service: service})
		if err != nil || res.GetStatus() != health.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", service, res, err)
		}
	}
}

func TestACallIsOfBoundedLength(t *testing.T) {
	s, _ := serve(t, ServerConfig{}, rules(t, newDeps(t), nil))
	c := pb.NewRateLimitServiceClient(dial(t, s))
	if _, err := c.ShouldRateLimit(within(t), request(one("a", strings.Repeat("x", maxMessageBytes)))); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v: want ResourceExhausted", err)
	}
	if _, err := c.ShouldRateLimit(within(t), request(one("a", strings.Repeat("x", maxMessageBytes/2)))); err != nil {
		t.Error(err)
	}
}

func TestConnsPastTheirMostAreClosed(t *testing.T) {
	s, _ := serve(t, ServerConfig{MaxConns: 1}, rules(t, newDeps(t), nil))
	c := dial(t, s)
	if _, err := pb.NewRateLimitServiceClient(c).ShouldRateLimit(within(t), request(one("a", "b"))); err != nil {
		t.Fatal(err)
	}
	if _, err := pb.NewRateLimitServiceClient(dial(t, s)).ShouldRateLimit(within(t), request(one("a", "b"))); status.Code(err) != codes.Unavailable {
		t.Errorf("%v: want Unavailable", err)
	}
	if s.refused.Load() == 0 {
		t.Error("it is not counted")
	}
	_ = c.Close()
	for deadline := time.Now().Add(patience); s.conns.Load() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("a conn that ended counts on")
		}
		<-time.After(time.Millisecond)
	}
}

// TestOfManyAtOnceAsManyAreLetInAsTheQuotaHas is for the race detector, too.
func TestOfManyAtOnceAsManyAreLetInAsTheQuotaHas(t *testing.T) {
	const quotaOf, workers, each = 100, 8, 50
	newRules := func() *Rules {
		deps := newDeps(t)
		return rules(t, deps, []policy.Policy{{Quota: quota("q", quotaOf)}, {Quota: quota("other", quotaOf*10)}},
			Rule{Match: match("remote_address", ""), Policies: []string{"q", "other"}}, Rule{Match: match("user", ""), Policies: []string{"q"}, Override: true})
	}
	s, _ := serve(t, ServerConfig{}, newRules())
	c := pb.NewRateLimitServiceClient(dial(t, s))
	var in atomic.Int64
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for i := range each {
				other := one("user", fmt.Sprint(w, i%3))
				other.Limit = &common.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: 1000, Unit: 2}
				res, err := c.ShouldRateLimit(within(t), request(one("remote_address", "1.1.1.1"), other))
				if err != nil {
					t.Error(err)
					return
				}
				if isOK(res) {
					in.Add(1)
				}
			}
		})
	}
	running.Wait()
	if in.Load() != quotaOf {
		t.Errorf("%d were let in: want %d", in.Load(), quotaOf)
	}
}

// TestDrainingLetsACallEnd has the server stop while a call waits for the shared store.
func TestDrainingLetsACallEnd(t *testing.T) {
	store := newShared(t, quota("far", 2))
	deps := newDeps(t)
	deps.Shared = store
	waits, goes := make(chan struct{}), make(chan struct{})
	store.before = func() { close(waits); <-goes }
	r := rules(t, deps, []policy.Policy{{Quota: quota("far", 2), Shared: true}}, Rule{Match: match("a", ""), Policies: []string{"far"}})
	s, stop := serve(t, ServerConfig{DrainTimeout: patience}, r)
	c := dial(t, s)
	failed := make(chan error, 1)
	go func() {
		_, err := pb.NewRateLimitServiceClient(c).ShouldRateLimit(within(t), request(one("a", "b")))
		failed <- err
	}()
	<-waits
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Error("it stops with a call under way")
	case <-time.After(20 * time.Millisecond):
	}
	close(goes)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	<-stopped
}

func TestADecisionAllocatesNothing(t *testing.T) {
	r := rules(t, newDeps(t), []policy.Policy{{Quota: quota("two", 2)}, of(t, quota("three", 3), "address/24/56")},
		Rule{Match: match("remote_address", "", "path", "/login"), Policies: []string{"two", "three"}}, Rule{Match: match("user", ""), Policies: []string{"two"}})
	req, x, ctx := request(one("remote_address", "1.1.1.1", "path", "/login"), one("user", "x"), one("none", "x")), &call{}, t.Context()
	if n := testing.AllocsPerRun(100, func() {
		x.reset(r)
		if _, err := x.decide(ctx, start, req); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
