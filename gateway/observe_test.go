package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
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
		"a new trace":           {trace.Config{Sample: 1}, false, "", false, 1},
		"one not sampled":       {trace.Config{}, false, "", false, 0},
		"a client's, forgotten": {trace.Config{Sample: 1}, false, clientsTrace, false, 1},
		"a trusted proxy's":     {trace.Config{}, true, clientsTrace, true, 1},
		"everybody's":           {trace.Config{From: trace.FromAll}, false, clientsTrace, true, 1},
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
			s := spans[0]
			if s.TraceID != parent[3:35] || s.SpanID != parent[36:52] || (s.ParentID == clientsTrace[36:52]) != c.continued || s.Name != "GET /" || s.Attributes["url.path"] != "/x" || s.Attributes["weir.outcome"] != "admitted" {
				t.Errorf("%+v", s)
			}
			if s.End.Sub(s.Begin) <= 0 || time.Since(s.Begin) > time.Minute || strings.Contains(fmt.Sprint(s.Attributes), "secret") {
				t.Errorf("%+v", s)
			}
		})
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
