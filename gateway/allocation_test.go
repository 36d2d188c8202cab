package gateway

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"weir/gateway/policy"
	"weir/gateway/trace"
	"weir/ratelimit"
)

// fixed is an upstream that answers each read with the same bytes, and allocates nothing for it.
func fixed(tb testing.TB, answer string) string {
	tb.Helper()
	return accept(tb, func(c net.Conn) {
		b, out := make([]byte, 4096), []byte(answer)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	})
}

// TestARequestOnALoopAllocatesNothing counts what the whole process allocates, which is the client, the upstream, and gnet as well.
func TestARequestOnALoopAllocatesNothing(t *testing.T) {
	if *ways != WayLoops || raceEnabled {
		t.Skip("only the loops promise it, and not to the race detector")
	}
	plan := plain(fixed(t, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\nContent-Type: text/plain\r\n\r\nhello"))
	plan.Rules.Policies = []policy.Policy{
		{Quota: ratelimit.Quota{Name: "q", Rate: ratelimit.Rate{Count: 5_000_000, Per: time.Second}}},
		{Quota: ratelimit.Quota{Name: "few", Rate: ratelimit.Rate{Count: 1, Per: time.Hour}}},
	}
	plan.Rules.Routes = []policy.Route{
		{Name: "all", Upstream: "u", Policies: []string{"q"}, Auth: policy.AuthOptional}, {Name: "few", Path: "/few", Upstream: "u", Policies: []string{"few"}, Auth: policy.AuthOptional},
	}
	plan.Rules.Consumers = []policy.Consumer{{Name: "shop", Keys: [][32]byte{policy.SumKey("secret")}}}
	for name, deps := range tracings(t) {
		t.Run(name, func(t *testing.T) { allocatesNothing(t, serve(t, Config{}, plan, deps)) })
	}
}

// tracings are what a request may be joined to of which it has no span.
func tracings(tb testing.TB) map[string]Deps {
	tb.Helper()
	unsampled, err := trace.New(trace.Config{Endpoint: "http://127.0.0.1:1"})
	if err != nil {
		tb.Fatal(err)
	}
	return map[string]Deps{"not traced": {}, "not sampled": {Trace: unsampled}}
}

func allocatesNothing(t *testing.T, r *rig) {
	t.Helper()
	for name, request := range map[string]string{
		"sent on": "GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nX-Api-Key: secret\r\nUser-Agent: wrk\r\nAccept: */*\r\n\r\n",
		"refused": "GET /few HTTP/1.1\r\nHost: example.com\r\nUser-Agent: wrk\r\n\r\n",
	} {
		c, in := r.dial(t)
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		out, b := []byte(request), make([]byte, 4096)
		ask := func(n int) {
			for range n {
				if _, err := c.Write(out); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Read(b); err != nil {
					t.Fatal(err)
				}
			}
		}
		ask(500) // pools fill
		const n = 5000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ask(n)
		runtime.ReadMemStats(&after)
		per := float64(after.Mallocs-before.Mallocs) / n
		t.Logf("%s: %.3f allocations a request of the process", name, per)
		if per > 0.1 { // ticks of wheels, and the metrics that grow
			t.Errorf("%s: %.2f allocations a request", name, per)
		}
		_, _ = io.ReadAll(io.LimitReader(in, 0))
	}
}
