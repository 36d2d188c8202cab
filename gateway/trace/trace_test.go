package trace

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/gateway/access"
	"weir/gateway/policy"
	"weir/gateway/trace/tracetest"

	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	otel "go.opentelemetry.io/otel/trace"
)

// patience of tests.
const testPatience = 10 * time.Second

// head is fields by name.
type head map[string][]string

func (h head) At(name string, i int) (string, bool) {
	if v := h[name]; i < len(v) {
		return v[i], true
	}
	return "", false
}

// run starts a Tracer; stop ends it.
func run(t *testing.T, tr *Tracer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { tr.Run(ctx); close(ended) }()
	return func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(testPatience):
			t.Error("it does not end")
		}
	}
}

func newTest(t *testing.T, cfg Config) *Tracer {
	t.Helper()
	tr, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

const clients = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestWhoseTraceGoesOn(t *testing.T) {
	unsampled := strings.TrimSuffix(clients, "1") + "0"
	for name, c := range map[string]struct {
		from               From
		trusted            bool
		sample             float64
		f                  head
		continued, sampled bool
	}{
		"a trusted proxy's":                 {FromProxies, true, 0, head{"Traceparent": {clients}}, true, true},
		"one that is not sampled":           {FromProxies, true, 1, head{"Traceparent": {unsampled}}, true, false},
		"a client's, who is nobody":         {FromProxies, false, 0, head{"Traceparent": {clients}}, false, false},
		"a client's, who is sampled anyhow": {FromProxies, false, 1, head{"Traceparent": {clients}}, false, true},
		"a client's, by configuration":      {FromAll, false, 0, head{"Traceparent": {clients}}, true, true},
		"nobody's, by configuration":        {FromNobody, true, 0, head{"Traceparent": {clients}}, false, false},
		"none":                              {FromAll, true, 1, head{}, false, true},
		"two":                               {FromAll, true, 0, head{"Traceparent": {clients, clients}}, false, false},
		"nonsense":                          {FromAll, true, 0, head{"Traceparent": {"nonsense"}}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTest(t, Config{Endpoint: "http://127.0.0.1:1", Sample: c.sample, From: c.from})
			var r access.Record
			c.f["Tracestate"] = []string{"a=b"}
			tr.Start(&r, c.f, c.trusted)
			id, span := r.Trace.IDs()
			text := string(r.Trace.Parentage())
			p, ok := parse(text)
			if !r.Trace.On() || !ok || p.id != id || p.span != span || p.sampled != r.Trace.Sampled() || string(r.Trace.ID()) != text[3:35] {
				t.Fatalf("%q", text)
			}
			if same := text[:36] == clients[:36]; same != c.continued || r.Trace.Continued != c.continued || text[36:52] == clients[36:52] || r.Trace.Sampled() != c.sampled {
				t.Errorf("%s, continued %v", text, r.Trace.Continued)
			}
			if has := r.Trace.Parent != [8]byte{}; has != c.continued || (r.Trace.State != "") != (c.continued && c.sampled) {
				t.Errorf("parent %x, state %q", r.Trace.Parent, r.Trace.State)
			}
		})
	}
}

func TestASampleIsItsPartAndThatOfOpenTelemetry(t *testing.T) {
	for _, part := range []float64{0, .01, .5, 1} {
		tr := newTest(t, Config{Endpoint: "http://127.0.0.1:1", Sample: part})
		theirs := sdk.TraceIDRatioBased(part)
		const n = 50_000
		count := 0
		for range n {
			var r access.Record
			tr.Start(&r, head{}, false)
			if r.Trace.Sampled() {
				count++
			}
			id, _ := r.Trace.IDs()
			if want := theirs.ShouldSample(sdk.SamplingParameters{TraceID: id}).Decision == sdk.RecordAndSample; want != r.Trace.Sampled() {
				t.Fatalf("part %v: %x is sampled: %v, by theirs %v", part, id, r.Trace.Sampled(), want)
			}
		}
		if off := math.Abs(float64(count) - part*n); off > 5*math.Sqrt(n*part*(1-part)) {
			t.Errorf("%d of %d, want a part of %v", count, n, part)
		}
	}
}

func TestNothingIsAllocatedForARequestThatIsNotSampled(t *testing.T) {
	tr := newTest(t, Config{Endpoint: "http://127.0.0.1:1"})
	var r access.Record
	f := head{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}}
	for _, trusted := range []bool{true, false} {
		if n := testing.AllocsPerRun(100, func() { tr.Start(&r, f, trusted); tr.Observe(&r) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func TestASpanSaysWhatBecameOfItsRequest(t *testing.T) {
	at := time.Unix(1_700_000_000, 5000)
	whole := access.Record{
		Begun: at, Total: 20 * time.Millisecond, Upstream: 15 * time.Millisecond, Added: time.Millisecond, Outcome: policy.Admitted, Route: "api", RoutePath: "/api",
		Status: 200, Method: "GET", Host: "api.example.com:8443", Path: "/api/a", Proto: "HTTP/1.1", TLS: true, Client: netip.MustParseAddr("192.0.2.1"),
		Identity: "alice", RequestID: "id", Received: 3, Sent: 4, Server: "10.0.0.1:80", Attempts: 2, Policies: []access.Asked{{Name: "ok", Allowed: true}},
	}
	with := func(change func(r *access.Record)) access.Record { r := whole; change(&r); return r }
	for name, c := range map[string]struct {
		r      access.Record
		name   string
		failed bool
		want   map[string]any // nil: is not there
	}{
		"an answer": {whole, "GET /api", false, map[string]any{
			"http.request.method": "GET", "url.path": "/api/a", "url.scheme": "https", "network.protocol.version": "1.1", "http.route": "/api", "weir.route": "api",
			"http.response.status_code": int64(200), "server.address": "api.example.com", "server.port": int64(8443), "client.address": "192.0.2.1",
			"weir.outcome": "admitted", "weir.request_id": "id", "weir.upstream.server": "10.0.0.1:80", "weir.upstream.attempts": int64(2),
			"weir.upstream.seconds": .015, "weir.added_seconds": .001, "http.request.body.size": int64(3), "http.response.body.size": int64(4),
			"error.type": nil, "weir.policies.limited": nil, "http.request.method_original": nil,
		}},
		"a refusal": {with(func(r *access.Record) {
			r.Outcome, r.Status, r.Attempts = policy.Limited, 429, 0
			r.Policies = []access.Asked{{Name: "a"}, {Name: "b", Shadow: true}}
		}), "GET /api", false, map[string]any{
			"weir.outcome": "limited", "weir.policies.limited": []string{"a"}, "weir.policies.shadowed": []string{"b"}, "weir.upstream.server": nil, "error.type": nil,
		}},
		"an error":           {with(func(r *access.Record) { r.Status = 502 }), "GET /api", true, map[string]any{"error.type": "502"}},
		"half of an answer":  {with(func(r *access.Record) { r.Cut = true }), "GET /api", true, map[string]any{"error.type": "cut"}},
		"no answer":          {with(func(r *access.Record) { r.Status = 0 }), "GET /api", true, map[string]any{"error.type": "_OTHER", "http.response.status_code": nil}},
		"a client that went": {with(func(r *access.Record) { r.Status, r.Cut, r.Gone = 0, true, true }), "GET /api", false, map[string]any{"error.type": nil}},
		"no route": {with(func(r *access.Record) {
			r.Outcome, r.Status, r.Route, r.RoutePath, r.Host, r.Proto, r.TLS = policy.NoRoute, 404, "", "", "a", "HTTP/2.0", false
		}), "GET", false, map[string]any{"http.route": nil, "server.address": "a", "server.port": nil, "network.protocol.version": "2", "url.scheme": "http"}},
		"what nobody knows": {with(func(r *access.Record) { r.Method, r.Path, r.Proto = "FROB", "/\xff", "HTTP/1.0" }), "HTTP /api", false, map[string]any{
			"http.request.method": "_OTHER", "http.request.method_original": "FROB", "url.path": "/\uFFFD", "network.protocol.version": "1.0",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			into := tracetest.New(t)
			tr := newTest(t, Config{Endpoint: into.URL, From: FromAll, Header: map[string]string{"X-Key": "k"}, Version: "1.2"})
			tr.Start(&c.r, head{"Traceparent": {clients}, "Tracestate": {"a=b"}}, false)
			_, span := c.r.Trace.IDs()
			tr.Observe(&c.r)
			run(t, tr)()
			spans := into.Spans()
			if len(spans) != 1 {
				t.Fatalf("%d spans, %+v", len(spans), tr.Stats())
			}
			s := spans[0]
			if s.Name != c.name || s.Failed != c.failed || !s.Server || s.Service != "weir-gateway" || !s.Begin.Equal(at) || s.End.Sub(s.Begin) != c.r.Total {
				t.Errorf("%+v", s)
			}
			if s.TraceID != clients[3:35] || s.ParentID != clients[36:52] || s.SpanID != fmt.Sprintf("%x", span) || s.TraceState != "a=b" {
				t.Errorf("%+v", s)
			}
			for key, want := range c.want {
				if got := s.Attributes[key]; fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s: %v, want %v", key, got, want)
				}
			}
			for key, value := range s.Attributes {
				if strings.Contains(fmt.Sprint(value), "alice") {
					t.Errorf("%s tells who it is", key)
				}
			}
			if h, path := into.Last(); path != "/v1/traces" || h.Get("X-Key") != "k" || h.Get("Content-Type") != "application/x-protobuf" {
				t.Errorf("%s %v", path, h)
			}
			if st := tr.Stats(); st != (Stats{Sent: 1}) {
				t.Errorf("%+v", st)
			}
		})
	}
}

func sampled() *access.Record {
	r := &access.Record{Begun: time.Now(), Method: "GET", Status: 200}
	r.Trace.Begin([16]byte{1}, [8]byte{2}, true)
	return r
}

func TestACollectorThatIsGoneCostsOnlySpans(t *testing.T) {
	const n = 3 * maxQueued
	for name, c := range map[string]struct {
		endpoint func(t *testing.T) string
		failed   bool
	}{
		"nobody listens": {func(*testing.T) string { return "http://127.0.0.1:1" }, true},
		"it refuses": {func(t *testing.T) string {
			t.Helper()
			into := tracetest.New(t)
			into.Answer(http.StatusBadRequest)
			return into.URL
		}, true},
		"it does not answer": {func(t *testing.T) string {
			t.Helper()
			into := tracetest.New(t)
			into.Hold(true)
			return into.URL
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTest(t, Config{Endpoint: c.endpoint(t), Sample: 1})
			for range n {
				tr.Observe(sampled()) // nobody takes them yet: what is over is dropped at once
			}
			if st := tr.Stats(); st.Dropped != n-maxQueued {
				t.Errorf("%+v", st)
			}
			begun := time.Now()
			run(t, tr)()
			if took := time.Since(begun); took > testPatience/2 {
				t.Errorf("its end takes %v", took)
			}
			if st := tr.Stats(); st.Sent != 0 || st.Failed+st.Dropped != n || st.LastError == "" {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestACollectorThatComesBackIsSentTheNextSpans(t *testing.T) {
	into := tracetest.New(t)
	into.Answer(http.StatusBadRequest) // by which a batch is lost at once
	tr := newTest(t, Config{Endpoint: into.URL})
	stop := run(t, tr)
	tr.Observe(sampled())
	eventually(t, func() bool { return tr.Stats().Failed == 1 })
	into.Answer(http.StatusOK)
	tr.Observe(sampled())
	eventually(t, func() bool { return tr.Stats().Sent == 1 && len(into.Spans()) == 1 })
	stop()
}

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(testPatience); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to that")
		}
	}
}

func TestARecordIsCopied(t *testing.T) {
	text := []byte(strings.Repeat("x", 5000))
	r := sampled()
	r.Path, r.Identity, r.Policies = string(text), "alice", []access.Asked{{Name: "a"}}
	c := kept(r)
	r.Policies[0].Name = "b"
	if c.Identity != "" || len(c.Path) != maxText || c.Policies[0].Name != "a" {
		t.Errorf("%+v", c)
	}
}

func TestMistakesOfAConfiguration(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"http://a:4318": true, "https://a/x/v1/traces": true, "http://a/": true, "a:4318": false, "grpc://a": false, "": false, "http://": false,
		"https://user:secret@a": false, "https://a/?key=secret": false, "http://a/#x": false, "http://a b": false,
	} {
		err := Config{Endpoint: endpoint}.Validate()
		if (err == nil) != ok || err != nil && (!strings.Contains(err.Error(), "http://HOST:4318") || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	for _, c := range []Config{{Endpoint: "http://a", Sample: 2}, {Endpoint: "http://a", Sample: math.NaN()}, {Endpoint: "http://a", From: froms}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is taken", c)
		} else if _, ok := errors.AsType[*FieldError](err); !ok {
			t.Errorf("%v", err)
		}
	}
	for _, f := range []From{FromProxies, FromAll, FromNobody} {
		if back, err := ParseFrom(f.String()); err != nil || back != f {
			t.Errorf("%v: %v, %v", f, back, err)
		}
	}
	if _, err := ParseFrom("some"); err == nil {
		t.Error("some is taken")
	}
}

func TestHeadersAreRead(t *testing.T) {
	got, err := ParseHeader("# of the collector\n\nx-key: a: b\r\nAuthorization:Bearer x\n")
	if err != nil || len(got) != 2 || got["X-Key"] != "a: b" || got["Authorization"] != "Bearer x" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"secret", ": x", "a b: secret", "a:", "a: sec\x00ret"} {
		if _, err := ParseHeader("x: y\n" + bad); err == nil || !strings.Contains(err.Error(), "line 2") || strings.Contains(err.Error(), "sec") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{clients, "", clients + "-x", "01" + clients[2:] + "-x", "ff" + clients[2:], strings.ToUpper(clients), "00-" + strings.Repeat("0", 32) + clients[35:], clients[:52] + "-0f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := parse(text)
		ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": text})
		theirs := otel.SpanContextFromContext(ctx)
		known := strings.HasPrefix(text, "00") && len(text) == 55 && text[53] == '0' && text[54] <= '3'
		if known && ok != theirs.IsValid() { // they refuse other flags, which are to be ignored
			t.Fatalf("%q: %v, theirs %v", text, ok, theirs)
		}
		if theirs.IsValid() && !ok {
			t.Fatalf("%q is taken by them alone", text)
		}
		if ok && theirs.IsValid() && (theirs.TraceID() != p.id || theirs.SpanID() != p.span || theirs.IsSampled() != p.sampled) {
			t.Fatalf("%q: %+v, theirs %v", text, p, theirs)
		}
	})
}
