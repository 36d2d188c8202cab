package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/gateway/access"
	"weir/gateway/policy"
	"weir/gateway/way"
	"weir/ratelimit"
	"weir/token"

	"github.com/prometheus/client_golang/prometheus"
)

func TestWhoIsOverItsQuotaIsToldAndCostsTheUpstreamNothing(t *testing.T) {
	var served atomic.Int64
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		w.Header().Set("RateLimit", `"theirs";r=1`)
		w.Header().Set("RateLimit-Policy", `"theirs";q=1;w=1`)
	})
	r := serve(t, Config{}, limited(3, time.Hour, up.URL), Deps{})
	c := client(t)
	for i := range 6 {
		res, body := ask(t, c, "http://"+r.addr+"/")
		want, left := 200, max(2-i, 0)
		if i >= 3 {
			want = 429
		}
		if res.StatusCode != want || !strings.HasPrefix(res.Header.Get("RateLimit"), fmt.Sprintf(`"q";r=%d`, left)) || res.Header.Get("RateLimit-Policy") != `"q";q=3;w=3600` {
			t.Errorf("request %d: %d %v", i, res.StatusCode, res.Header)
		}
		if i >= 3 && (res.Header.Get("Retry-After") == "" || !strings.Contains(body, `"violated-policies":["q"]`)) {
			t.Errorf("%v %s", res.Header, body)
		}
		if res.Close {
			t.Error("a refusal ends the conn")
		}
	}
	if served.Load() != 3 {
		t.Errorf("the upstream had %d requests", served.Load())
	}
}

func TestWhatRunsAtOnceIsGivenBackHoweverItEnds(t *testing.T) {
	hold, holds := make(chan struct{}), make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hold":
			close(holds)
			<-hold
		case "/break":
			panic(http.ErrAbortHandler)
		}
	})
	plan := plain(up.URL)
	plan.Rules.Policies = []policy.Policy{{Quota: ratelimit.Quota{Name: "at once", Unit: ratelimit.UnitConcurrentRequests, Burst: 1}}}
	plan.Rules.Routes[0].Policies = []string{"at once"}
	r := serve(t, Config{}, plan, Deps{})
	c := client(t)
	for _, path := range []string{"/", "/break", "/", "/break", "/"} {
		if res, err := c.Get("http://" + r.addr + path); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == 429 {
				t.Fatalf("%s: %s", path, res.Status)
			}
		}
	}
	held := make(chan int, 1)
	go func() {
		res, err := c.Get("http://" + r.addr + "/hold")
		if err != nil {
			held <- 0
			return
		}
		_ = res.Body.Close()
		held <- res.StatusCode
	}()
	<-holds
	if res, _ := ask(t, c, "http://"+r.addr+"/"); res.StatusCode != 429 {
		t.Error(res.Status)
	}
	close(hold)
	if s := <-held; s != 200 {
		t.Error(s)
	}
	if res, _ := ask(t, c, "http://"+r.addr+"/"); res.StatusCode != 200 {
		t.Error(res.Status)
	}
}

func TestBytesOfBothBodiesAreCharged(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, strings.Repeat("x", 5000))
	})
	plan := plain(up.URL)
	plan.Rules.Policies = []policy.Policy{{Quota: ratelimit.Quota{
		Name: "bytes", Unit: ratelimit.UnitContentBytes, Bytes: ratelimit.ByteRate{Bytes: 1, Per: time.Second}, Burst: 12_000,
	}}}
	plan.Rules.Routes[0].Policies = []string{"bytes"}
	r := serve(t, Config{}, plan, Deps{})
	c := client(t)
	for i, want := range []int{200, 200, 429} {
		req, err := http.NewRequest(http.MethodPost, "http://"+r.addr+"/", strings.NewReader(strings.Repeat("y", 2000)))
		if err != nil {
			t.Fatal(err)
		}
		if res, _ := do(t, c, req); res.StatusCode != want {
			t.Errorf("request %d: %d", i, res.StatusCode)
		}
	}
}

type verifier struct{}

func (verifier) Verify(text string) (*token.Claims, error) {
	if text == "good" {
		return &token.Claims{Subject: "alice", Expires: time.Now().Add(time.Hour)}, nil
	}
	return nil, token.ErrExpired
}

func TestUpstreamsAreToldWhoARequestIsFrom(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s|%s|%s", r.Header.Get("X-Weir-Identity"), r.Header.Get("X-Api-Key"), r.Header.Get("Authorization"))
	})
	plan := plain(up.URL)
	plan.Rules.Consumers = []policy.Consumer{{Name: "shöp", Keys: [][32]byte{policy.SumKey("key")}}}
	plan.Rules.Routes = []policy.Route{
		{Name: "hide", Upstream: "u", HideCredentials: true}, {Name: "show", Path: "/show", Upstream: "u"}, {Name: "none", Path: "/none", Upstream: "u", Auth: policy.AuthNone},
	}
	plan.Tokens = verifier{}
	r := serve(t, Config{}, plan, Deps{})
	for _, q := range []struct {
		path, field, value, want string
		status                   int
	}{
		{"/", "X-Api-Key", "key", "sh%C3%B6p||", 200},
		{"/", "Authorization", "Bearer good", "alice||", 200},
		{"/show", "Authorization", "Bearer good", "alice||Bearer good", 200},
		{"/none", "Authorization", "Bearer good", "||Bearer good", 200},
		{"/none", "X-Weir-Identity", "root", "||", 200},
		{"/", "X-Api-Key", "no", "not known", 401},
		{"/", "Authorization", "Bearer old", "expired", 401},
		{"/", "X", "y", "a credential is missing", 401},
	} {
		if res, body := ask(t, client(t), "http://"+r.addr+q.path, q.field, q.value); res.StatusCode != q.status || !strings.Contains(body, q.want) {
			t.Errorf("%s %s: %d %s", q.path, q.value, res.StatusCode, body)
		}
	}
}

func TestAReloadDropsNoRequestAndForgetsNoDebt(t *testing.T) {
	first := origin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "first") })
	second := origin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "second") })
	plan := func(url string) Plan {
		p := limited(2, time.Hour, url)
		p.Rules.Routes = append(p.Rules.Routes, policy.Route{Name: "free", Path: "/free", Upstream: "u"})
		return p
	}
	r := serve(t, Config{}, plan(first.URL), Deps{})
	c := client(t)
	ask(t, c, "http://"+r.addr+"/")
	stop := make(chan struct{})
	var load sync.WaitGroup
	var failed, done atomic.Int64
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, err := c.Get("http://" + r.addr + "/free")
				if err != nil || res.StatusCode != 200 {
					failed.Add(1)
				}
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
				done.Add(1)
			}
		})
	}
	for i := range 50 {
		url := first.URL
		if i%2 == 0 {
			url = second.URL
		}
		if err := r.Reload(t.Context(), plan(url)); err != nil {
			t.Fatal(err)
		}
		n := done.Load()
		eventually(t, "requests go on", func() bool { return done.Load() > n+4 })
	}
	bad := plan(second.URL)
	bad.Rules.Routes[0].Policies = []string{"nothing"}
	if err := r.Reload(t.Context(), bad); err == nil || !strings.Contains(err.Error(), `no policy "nothing"`) {
		t.Errorf("a plan that is wrong: %v", err)
	}
	bad = plan(second.URL)
	bad.Upstreams[0].Pool.Servers[0].Address = "nonsense"
	if err := r.Reload(t.Context(), bad); err == nil {
		t.Error("an upstream that is wrong is taken")
	}
	close(stop)
	load.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), done.Load())
	}
	for i, want := range []int{200, 429} { // of two in an hour one was before
		if res, _ := ask(t, c, "http://"+r.addr+"/"); res.StatusCode != want {
			t.Errorf("request %d: %d", i, res.StatusCode)
		}
	}
	if shown := r.Show(); shown.Reloads != 50 || shown.Rejected != 2 {
		t.Errorf("%+v", shown)
	}
}

// gone is a shared store that cannot be reached.
type gone struct{ limit *ratelimit.Limit }

func (g gone) Limit(string) *ratelimit.Limit { return g.limit }
func (g gone) Take(_ context.Context, _ []ratelimit.Check, out []ratelimit.Decision) (bool, error) {
	out[0] = ratelimit.Decision{}
	return false, errors.New("redis is gone")
}

func (g gone) Charge(context.Context, []ratelimit.Check) error { return errors.New("redis is gone") }

func TestASharedPolicyThatIsClosedWithoutItsStoreAnswers503(t *testing.T) {
	up := origin(t, func(http.ResponseWriter, *http.Request) {})
	plan := limited(5, time.Second, up.URL)
	plan.Rules.Policies[0].Shared = true
	limit, err := plan.Rules.Policies[0].Quota.Compile()
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	plan.Shared = func() (policy.Shared, func(), error) { return gone{limit}, func() { close(closed) }, nil }
	r := serve(t, Config{}, plan, Deps{})
	res, _ := ask(t, client(t), "http://"+r.addr+"/")
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	r.stop()
	<-closed
}

func TestRequestsAreCountedAndLogged(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	log, err := access.NewLog(access.LogConfig{Refused: true})
	if err != nil {
		t.Fatal(err)
	}
	var seen atomic.Int64
	var out strings.Builder
	done, written := make(chan struct{}), make(chan struct{})
	go func() { log.Run(done, &out); close(written) }()
	r := serve(t, Config{}, limited(1, time.Hour, up.URL), Deps{Log: log, Hooks: way.Hooks{Observe: func(*access.Record) { seen.Add(1) }}})
	c := client(t)
	for range 3 {
		ask(t, c, "http://"+r.addr+"/a?secret=1", "X-Request-Id", "x")
	}
	r.raw(t, "GET / HTTP/1.1\n\n", "GET")
	eventually(t, "all are counted", func() bool { return r.flight.InFlight() == 0 && seen.Load() == 4 })
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.Server)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "," + l.GetValue()
			}
			switch {
			case m.GetCounter() != nil:
				got[name] = m.GetCounter().GetValue()
			case m.GetHistogram() != nil:
				got[name] = float64(m.GetHistogram().GetSampleCount())
				if len(m.GetHistogram().GetPositiveSpan()) == 0 && strings.HasSuffix(name, ",all") {
					t.Errorf("%s is no native histogram", name)
				}
			}
		}
	}
	for name, want := range map[string]float64{
		"weir_gateway_requests_total,admitted,all": 1, "weir_gateway_requests_total,limited,all": 2, "weir_gateway_requests_total,malformed,none": 1,
		"weir_gateway_responses_total,2xx,all": 1, "weir_gateway_responses_total,4xx,all": 2, "weir_gateway_decisions_total,q,limited": 2,
		"weir_gateway_decisions_total,q,allowed": 1, "weir_gateway_request_seconds,all": 3, "weir_gateway_added_seconds,all": 3,
		"weir_gateway_upstream_requests_total,ok,u": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	close(done)
	<-written
	if n := strings.Count(out.String(), "\n"); n != 3 || strings.Contains(out.String(), "secret") || !strings.Contains(out.String(), `"limited":["q"]`) {
		t.Errorf("%d lines: %s", n, out.String())
	}
}

func TestABurstOfRequestsWaitsForConnsToTheUpstream(t *testing.T) {
	up := origin(t, func(http.ResponseWriter, *http.Request) {})
	r := serve(t, Config{}, plain(up.URL), Deps{})
	var load sync.WaitGroup
	var bad atomic.Int64
	may := make(chan struct{})
	for range 600 {
		c, in := r.dial(t)
		load.Go(func() {
			<-may
			for range 3 {
				fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				res, err := http.ReadResponse(in, nil)
				if err != nil || res.StatusCode != 200 {
					bad.Add(1)
					return
				}
				_ = res.Body.Close()
			}
		})
	}
	eventually(t, "all are there", func() bool { return r.Conns() == 600 })
	close(may)
	load.Wait()
	if n := bad.Load(); n > 0 {
		t.Errorf("%d of 600 clients were not served", n)
	}
}
