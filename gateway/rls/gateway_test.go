package rls_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/gateway"
	"weir/gateway/policy"
	"weir/gateway/rls"
	"weir/gateway/upstream"
	"weir/ratelimit"

	common "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	pb "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const patience = 10 * time.Second

// serve runs a gateway, and returns a client of its rate limit service.
func serve(t *testing.T, cfg gateway.Config, plan gateway.Plan) (*gateway.Server, pb.RateLimitServiceClient) {
	t.Helper()
	cfg.RLSListen, cfg.Clients, cfg.DrainTimeout = "127.0.0.1:0", 4096, time.Second
	s, err := gateway.New(cfg, plan, gateway.Deps{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			t.Error("the gateway does not end")
		}
	})
	select {
	case <-s.Ready():
	case <-time.After(patience):
		t.Fatal("the gateway does not serve")
	}
	c, err := grpc.NewClient(s.RLSAddr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return s, pb.NewRateLimitServiceClient(c)
}

// plan has a policy for each address, of so many in an hour.
func plan(count uint64) gateway.Plan {
	return gateway.Plan{
		Rules: policy.Config{Policies: []policy.Policy{{Quota: ratelimit.Quota{Name: "q", Rate: ratelimit.Rate{Count: count, Per: time.Hour}}}}},
		RLS:   rls.Config{Domains: []rls.Domain{{Name: "edge", Rules: []rls.Rule{{Match: []rls.Entry{{Key: "remote_address"}}, Policies: []string{"q"}}}}}},
	}
}

// call is one of a client by its address.
func call(t *testing.T, c pb.RateLimitServiceClient, address string) *pb.RateLimitResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	res, err := c.ShouldRateLimit(ctx, &pb.RateLimitRequest{Domain: "edge", Descriptors: []*common.RateLimitDescriptor{
		{Entries: []*common.RateLimitDescriptor_Entry{{Key: "remote_address", Value: address}}},
	}})
	if err != nil {
		t.Error(err)
	}
	return res
}

// TestRequestsAndCallsHaveOneBudget has a client go through the gateway, and through an Envoy that asks it.
func TestRequestsAndCallsHaveOneBudget(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer origin.Close()
	p := plan(3)
	p.Upstreams = []gateway.Upstream{{Pool: upstream.Config{Name: "u", Servers: []upstream.ServerConfig{{Address: strings.TrimPrefix(origin.URL, "http://")}}}}}
	p.Rules.Routes = []policy.Route{{Name: "all", Upstream: "u", Policies: []string{"q"}}}
	s, c := serve(t, gateway.Config{Listen: "127.0.0.1:0"}, p)
	get := func() int {
		res, err := http.Get("http://" + s.Addr().String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if code := get(); code != http.StatusOK {
		t.Fatalf("the first is answered %d", code)
	}
	for i, want := range []uint32{1, 0} {
		if res := call(t, c, "127.0.0.1"); res.GetOverallCode() != pb.RateLimitResponse_OK || res.GetStatuses()[0].GetLimitRemaining() != want {
			t.Errorf("call %d: %v: want %d left", i, res, want)
		}
	}
	if res := call(t, c, "127.0.0.1"); res.GetOverallCode() != pb.RateLimitResponse_OVER_LIMIT {
		t.Errorf("%v: want it over the limit", res)
	}
	if code := get(); code != http.StatusTooManyRequests {
		t.Errorf("the gateway answers %d: want 429", code)
	}
	// Two of the allowed ones and one of the refused were Envoy's.
	for result, want := range map[string]float64{"allowed": 3, "limited": 2, "shadow": 0} {
		for deadline := time.Now().Add(patience); ; <-time.After(time.Millisecond) { // a request is counted behind its answer
			n := decisions(t, s, "q", result)
			if n == want {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v decisions are %s, want %v", n, result, want)
			}
		}
	}
}

// decisions is weir_gateway_decisions_total of a policy and a result.
func decisions(t *testing.T, s *gateway.Server, name, result string) float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(s)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if l := m.GetLabel(); f.GetName() == "weir_gateway_decisions_total" && l[0].GetValue() == name && l[1].GetValue() == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no series of %s, %s", name, result)
	return 0
}

// TestAReloadDropsNoCall has rules replaced while calls come, which are decided by one of them each, and clients keep
// what they owe.
func TestAReloadDropsNoCall(t *testing.T) {
	s, c := serve(t, gateway.Config{Listen: gateway.Off}, plan(1))
	if res := call(t, c, "192.0.2.1"); res.GetOverallCode() != pb.RateLimitResponse_OK {
		t.Fatal(res)
	}
	var calls atomic.Int64
	end := make(chan struct{})
	var running sync.WaitGroup
	for w := range 4 {
		running.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-end:
					return
				default:
				}
				res := call(t, c, fmt.Sprintf("10.%d.%d.%d", w, i/256%256, i%256))
				if res.GetOverallCode() != pb.RateLimitResponse_OK || res.GetStatuses()[0].GetCurrentLimit() == nil {
					t.Errorf("%v: want it let in by a rule", res)
					return
				}
				calls.Add(1)
			}
		})
	}
	for i := range 50 {
		begun := calls.Load()
		if err := s.Reload(t.Context(), plan(uint64(1+i%2))); err != nil {
			t.Error(err)
		}
		if got := call(t, c, "198.51.100."+fmt.Sprint(i)).GetStatuses()[0].GetCurrentLimit().GetRequestsPerUnit(); got != uint32(1+i%2) {
			t.Errorf("after a reload a limit of %d holds: want %d", got, 1+i%2)
		}
		for deadline := time.Now().Add(patience); calls.Load() < begun+8 && !t.Failed(); {
			if time.Now().After(deadline) {
				t.Fatal("calls stop")
			}
			<-time.After(100 * time.Microsecond)
		}
	}
	close(end)
	running.Wait()
	wrong := plan(1)
	wrong.RLS.Domains[0].Rules[0].Policies = []string{"none"}
	if err := s.Reload(t.Context(), wrong); err == nil {
		t.Error("a plan that is wrong is taken")
	}
	if err := s.Reload(t.Context(), plan(1)); err != nil {
		t.Fatal(err)
	}
	if res := call(t, c, "192.0.2.1"); res.GetOverallCode() != pb.RateLimitResponse_OVER_LIMIT {
		t.Errorf("%v: want the first client to owe what it did", res)
	}
}

func TestAPortInUseIsTold(t *testing.T) {
	s, _ := serve(t, gateway.Config{Listen: gateway.Off}, plan(1))
	other, err := gateway.New(gateway.Config{Listen: "127.0.0.1:0", RLSListen: s.RLSAddr().String(), Clients: 4096}, plan(1), gateway.Deps{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "set gateway.rls_listen to another") {
		t.Errorf("%v", err)
	}
}
