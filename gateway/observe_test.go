package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/gateway/access"
	"weir/gateway/trace"
	"weir/gateway/trace/tracetest"
	"weir/gateway/way"
)

// seen are the records of a gateway.
type seen struct {
	mu  sync.Mutex
	all []access.Record
}

func (s *seen) observe(r *access.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := *r
	c.Path, c.TraceID = strings.Clone(r.Path), strings.Clone(r.TraceID)
	s.all = append(s.all, c)
}

// one waits for the only record.
func (s *seen) one(t *testing.T) access.Record {
	t.Helper()
	eventually(t, "a request has ended", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.all) > 0 })
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) != 1 {
		t.Fatalf("%d records", len(s.all))
	}
	return s.all[0]
}

const clientsTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestARequestIsTracedFromTheClientToTheUpstream(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for name, c := range map[string]struct {
		cfg       trace.Config
		trusted   bool
		sent      string // by the client
		continued bool
		spans     int
	}{
		"a new trace":           {trace.Config{Sample: 1}, false, "", false, 2},
		"one not sampled":       {trace.Config{}, false, "", false, 0},
		"a client's, forgotten": {trace.Config{Sample: 1}, false, clientsTrace, false, 2},
		"a trusted proxy's":     {trace.Config{}, true, clientsTrace, true, 2},
		"everybody's":           {trace.Config{From: trace.FromAll}, false, clientsTrace, true, 2},
		"unsampled, goes on":    {trace.Config{Sample: 1}, true, clientsTrace[:53] + "00", true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			into := tracetest.New(t)
			c.cfg.Endpoint = into.URL
			tracer, err := trace.New(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan http.Header, 1)
			up := origin(t, func(w http.ResponseWriter, r *http.Request) { got <- r.Header.Clone(); fmt.Fprint(w, "hello") })
			plan := limited(10, time.Hour, up.URL)
			if c.trusted {
				plan.Rules.TrustedProxies = loopback
			}
			records := &seen{}
			r := serve(t, Config{}, plan, Deps{Trace: tracer, Hooks: way.Hooks{Observe: records.observe}})
			fields := []string{"Tracestate", "a=b", "Baggage", "user=1"}
			if c.sent != "" {
				fields = append(fields, "Traceparent", c.sent)
			}
			if res, body := ask(t, client(t), "http://"+r.addr+"/x?secret=1", fields...); res.StatusCode != 200 || body != "hello" {
				t.Fatalf("%d %s", res.StatusCode, body)
			}
			in, record := <-got, records.one(t)
			parent := in.Get("Traceparent")
			if len(in["Traceparent"]) != 1 || len(parent) != 55 || record.TraceID != parent[3:35] || (parent[:36] == clientsTrace[:36]) != c.continued || parent[36:52] == clientsTrace[36:52] {
				t.Errorf("the upstream is told %q, the log %q", in["Traceparent"], record.TraceID)
			}
			if has := in.Get("Tracestate") == "a=b" && in.Get("Baggage") == "user=1"; has != c.continued || !has && in.Get("Tracestate")+in.Get("Baggage") != "" {
				t.Errorf("the upstream is told %q and %q", in.Get("Tracestate"), in.Get("Baggage"))
			}
			r.stop() // which sends what waits
			spans := into.Spans()
			if len(spans) != c.spans {
				t.Fatalf("%d spans: %+v", len(spans), tracer.Stats())
			}
			if c.spans == 0 {
				return
			}
			s, attempt := spans[0], spans[1]
			if attempt.TraceID != parent[3:35] || attempt.SpanID != parent[36:52] || attempt.ParentID != s.SpanID || !attempt.Client {
				t.Errorf("the upstream is told %q of %+v", parent, attempt)
			}
			if !s.Server || s.TraceID != parent[3:35] || (s.ParentID == clientsTrace[36:52]) != c.continued || s.Name != "GET /" || s.Attributes["url.path"] != "/x" || s.Attributes["weir.outcome"] != "admitted" {
				t.Errorf("%+v", s)
			}
			if s.End.Sub(s.Begin) <= 0 || time.Since(s.Begin) > time.Minute || strings.Contains(fmt.Sprint(s.Attributes), "secret") {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestEachAttemptHasASpan has servers answer, or not: of each attempt there is a client span below that of the request, which the
// server was sent as what it comes from.
func TestEachAttemptHasASpan(t *testing.T) {
	answers := func(status ...int) func(t *testing.T, told chan<- string) string {
		return func(t *testing.T, told chan<- string) string {
			t.Helper()
			var n atomic.Int32
			return origin(t, func(w http.ResponseWriter, r *http.Request) {
				told <- r.Header.Get("Traceparent")
				w.WriteHeader(status[min(int(n.Add(1)), len(status))-1])
			}).URL
		}
	}
	for name, c := range map[string]struct {
		server func(t *testing.T, told chan<- string) string
		status int
		want   []string // of each attempt its status and error
	}{
		"one that answers":  {answers(200), 200, []string{"200 <nil>"}},
		"a second attempt":  {answers(503, 200), 200, []string{"503 503", "200 <nil>"}},
		"three that failed": {answers(502, 503, 504, 200), 504, []string{"502 502", "503 503", "504 504"}},
		"a 404":             {answers(404), 404, []string{"404 404"}},
		"no connection": {func(t *testing.T, _ chan<- string) string {
			t.Helper()
			s := httptest.NewServer(http.NotFoundHandler())
			s.Close()
			return s.URL
		}, 502, []string{"<nil> connect_failed", "<nil> connect_failed", "<nil> connect_failed"}},
		"no answer": {func(t *testing.T, _ chan<- string) string {
			t.Helper()
			return rawOrigin(t, func(net.Conn) {})
		}, 502, []string{"<nil> broken", "<nil> broken", "<nil> broken"}},
		"half of one": {func(t *testing.T, _ chan<- string) string {
			t.Helper()
			return rawOrigin(t, func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab") })
		}, 200, []string{"200 broken"}},
	} {
		t.Run(name, func(t *testing.T) {
			into := tracetest.New(t)
			tracer, err := trace.New(trace.Config{Endpoint: into.URL, Sample: 1})
			if err != nil {
				t.Fatal(err)
			}
			told := make(chan string, 8)
			server := c.server(t, told)
			plan := plain(server)
			plan.Upstreams[0].Pool.Retries.Attempts = 3
			records := &seen{}
			r := serve(t, Config{}, plan, Deps{Trace: tracer, Hooks: way.Hooks{Observe: records.observe}})
			res, err := client(t).Get("http://" + r.addr + "/a?secret=1")
			switch {
			case err == nil && res.StatusCode == c.status:
				_, _ = io.Copy(io.Discard, res.Body) // it may be cut
				_ = res.Body.Close()
			case err == nil || c.want[0] != "200 broken": // of which there may be nothing
				t.Fatalf("%v, %v", res, err)
			}
			records.one(t)
			r.stop() // which sends what waits
			spans := into.Spans()
			if len(spans) != 1+len(c.want) || !spans[0].Server || tracer.Stats().Sent != uint64(len(spans)) {
				t.Fatalf("%+v, %+v", spans, tracer.Stats())
			}
			close(told)
			for i, s := range spans[1:] {
				if text, ok := <-told; ok && text != "00-"+s.TraceID+"-"+s.SpanID+"-01" {
					t.Errorf("attempt %d, %s, told its server %q", i, s.SpanID, text)
				}
				if got := fmt.Sprint(s.Attributes["http.response.status_code"], " ", s.Attributes["error.type"]); got != c.want[i] || s.Failed != (s.Attributes["error.type"] != nil) {
					t.Errorf("attempt %d: %q, failed %v, want %q", i, got, s.Failed, c.want[i])
				}
				if !s.Client || s.Name != "GET" || s.TraceID != spans[0].TraceID || s.ParentID != spans[0].SpanID || s.Begin.Before(spans[0].Begin) || s.End.Before(s.Begin) || s.End.After(spans[0].End) {
					t.Errorf("attempt %d, %+v, of %+v", i, s, spans[0])
				}
				at := fmt.Sprint(s.Attributes["server.address"], ":", s.Attributes["server.port"])
				again, _ := s.Attributes["http.request.resend_count"].(int64) //nolint:errcheck // without one it is 0
				if at != strings.TrimPrefix(server, "http://") || s.Attributes["weir.upstream.attempt"] != int64(i+1) || again != int64(i) || strings.Contains(fmt.Sprint(s.Attributes), "secret") {
					t.Errorf("attempt %d: %v", i, s.Attributes)
				}
			}
		})
	}
}

func TestARequestThatIsRefusedHasNoAttempt(t *testing.T) {
	into := tracetest.New(t)
	tracer, err := trace.New(trace.Config{Endpoint: into.URL, Sample: 1})
	if err != nil {
		t.Fatal(err)
	}
	up := origin(t, func(http.ResponseWriter, *http.Request) {})
	records := &seen{}
	r := serve(t, Config{}, limited(1, time.Hour, up.URL), Deps{Trace: tracer, Hooks: way.Hooks{Observe: records.observe}})
	c := client(t)
	for i := range 2 { // on one conn: what is used again is to be clean
		ask(t, c, "http://"+r.addr+"/")
		eventually(t, "a request has ended", func() bool { records.mu.Lock(); defer records.mu.Unlock(); return len(records.all) > i })
	}
	r.stop()
	if spans := into.Spans(); len(spans) != 3 || !spans[0].Server || !spans[1].Client || !spans[2].Server || spans[2].Attributes["weir.outcome"] != "limited" {
		t.Errorf("%+v", spans)
	}
}

func TestWithoutTracingAClientsTraceIsAnyField(t *testing.T) {
	got := make(chan http.Header, 1)
	up := origin(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Clone() })
	r := serve(t, Config{}, plain(up.URL), Deps{})
	ask(t, client(t), "http://"+r.addr+"/", "Traceparent", clientsTrace, "Baggage", "a=b")
	if in := <-got; in.Get("Traceparent") != clientsTrace || in.Get("Baggage") != "a=b" {
		t.Errorf("%v", in)
	}
}

func TestHowARequestEndedIsRecorded(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(c net.Conn)
		send   string
		cut    bool // by the client, once there is an answer
		want   access.Record
		failed bool
	}{
		"whole":           {func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab") }, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, access.Record{Status: 200}, false},
		"no upstream":     {func(net.Conn) {}, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, access.Record{Status: 502}, true},
		"a HEAD, failing": {func(net.Conn) {}, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", false, access.Record{Status: 502}, true},
		"half of one":     {func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab") }, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, access.Record{Status: 200, Cut: true}, true},
		"a client that goes": {func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
			_, _ = io.Copy(io.Discard, c) // until the gateway closes
		}, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, access.Record{Status: 200, Cut: true, Gone: true}, false},
		"a tunnel": {func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nab")
		}, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", false, access.Record{Status: 101}, false},
	} {
		t.Run(name, func(t *testing.T) {
			plan := plain(rawOrigin(t, c.answer))
			plan.Upstreams[0].Pool.Retries.Attempts = 1
			records := &seen{}
			r := serve(t, Config{}, plan, Deps{Hooks: way.Hooks{Observe: records.observe}})
			conn, in := r.dial(t)
			fmt.Fprint(conn, c.send)
			if c.cut {
				if _, err := in.ReadByte(); err != nil {
					t.Fatal(err)
				}
			} else {
				res, err := http.ReadResponse(in, &http.Request{Method: strings.Fields(c.send)[0]})
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body) // it may be cut
				}
			}
			_ = conn.Close()
			got := records.one(t)
			if got.Status != c.want.Status || got.Cut != c.want.Cut || got.Gone != c.want.Gone || got.Failed() != c.failed {
				t.Errorf("status %d, cut %v, gone %v, failed %v: %v", got.Status, got.Cut, got.Gone, got.Failed(), got.Err)
			}
		})
	}
}

func TestWhatIsShownHasQuantilesAndDecisions(t *testing.T) {
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(500)
		}
	})
	records := &seen{}
	r := serve(t, Config{}, limited(3, time.Hour, up.URL), Deps{Hooks: way.Hooks{Observe: records.observe}})
	for _, path := range []string{"/", "/", "/bad", "/"} {
		ask(t, client(t), "http://"+r.addr+path)
	}
	eventually(t, "all have ended", func() bool { records.mu.Lock(); defer records.mu.Unlock(); return len(records.all) == 4 })
	text, err := json.Marshal(r.Show())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Recent access.Recent
		Routes []struct {
			Name   string
			Recent access.Recent
		}
		Policies []struct{ Decisions map[string]uint64 }
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for _, a := range []access.Recent{got.Recent, got.Routes[0].Recent} {
		if a.Requests != 4 || a.Refused != 1 || a.Failed != 1 || a.FailedPart != .25 || a.Outcomes["limited"] != 1 || a.Total.P50 <= 0 || a.Total.P999 < a.Total.P50 || a.Added.P99 <= 0 || a.Added.P99 > a.Total.P999*1.13 {
			t.Errorf("%+v", a)
		}
	}
	if d := got.Policies[0].Decisions; d["allowed"] != 3 || d["limited"] != 1 || !bytes.Contains(text, []byte(`"p999"`)) {
		t.Errorf("%v", d)
	}
}
