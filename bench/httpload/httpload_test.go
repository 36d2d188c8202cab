//go:build linux

package httpload

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"pgregory.net/rapid"
)

func TestConfigIsHeldToItsRanges(t *testing.T) {
	fine := Config{To: netip.MustParseAddrPort("127.0.0.1:80"), Conns: 1, PerSecond: 1, Duration: time.Millisecond}
	if err := fine.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(c *Config){
		"to": func(c *Config) { c.To = netip.AddrPort{} }, "target": func(c *Config) { c.Target = "x" },
		"conns": func(c *Config) { c.Conns = MaxConns + 1 }, "per_second": func(c *Config) { c.PerSecond = 0.5 },
		"warm": func(c *Config) { c.Warm = -1 }, "duration": func(c *Config) { c.Duration = 0 }, "timeout": func(c *Config) { c.Timeout = time.Hour },
		"beside": func(c *Config) { c.Beside = "x" }, "sources": func(c *Config) { c.Sources = []netip.Addr{netip.MustParseAddr("::1")} },
	} {
		c := fine
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), name+" is ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestScheduleCountsWhatIsDueFromATimeOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSchedule(rapid.Int64Range(0, 1<<40).Draw(t, "start"), rapid.Float64Range(1, 1e6).Draw(t, "per second"), rapid.Float64Range(0, 0.01).Draw(t, "seconds"))
		from := s.start + rapid.Int64Range(-1e6, 12e6).Draw(t, "from")
		want, last := uint64(0), s.start
		for now := s.start; !s.over(); now += 100_000 {
			for {
				due, ok := s.take(now)
				if !ok {
					break
				}
				if due < last || due > now {
					t.Fatalf("due at %d after %d, taken at %d", due, last, now)
				}
				last = due
				if due >= from {
					want++
				}
			}
		}
		if got := s.counted(from); got != want {
			t.Fatalf("%d are due from %d on, want %d", got, from, want)
		}
	})
}

// run drives a generator to its end against a server.
func run(t *testing.T, cfg Config, serve http.HandlerFunc) (Report, *hdrhistogram.Histogram) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: serve, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	cfg.To = netip.MustParseAddrPort(ln.Addr().String())
	first, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := Run(strings.NewReader(string(first)+"\n"+CommandRun+"\n"), w)
		_ = w.Close()
		done <- err
	}()
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	var reports [2]Report
	for i := range reports {
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &reports[i]) != nil || reports[i].Error != "" {
			t.Fatalf("report %d: %q", i, lines.Text())
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if reports[0].Connected != cfg.Conns {
		t.Fatalf("%d of %d conns", reports[0].Connected, cfg.Conns)
	}
	hist, err := hdrhistogram.Decode(reports[1].Latency)
	if err != nil {
		t.Fatal(err)
	}
	return reports[1], hist
}

func TestEachRequestIsCountedForWhatItGot(t *testing.T) {
	var n atomic.Uint64
	var mu sync.Mutex
	seen := map[string]int{}
	r, hist := run(t, Config{Conns: 4, PerSecond: 400, Duration: 500 * time.Millisecond, Timeout: 5 * time.Second}, func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		seen[req.RemoteAddr]++
		mu.Unlock()
		switch n.Add(1) % 4 {
		case 0:
			w.WriteHeader(http.StatusTooManyRequests)
		case 1:
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, strings.Repeat("x", 3000))
		case 2:
			w.Header().Set("Connection", "close")
			fmt.Fprint(w, "last")
		default:
			w.(http.Flusher).Flush() //nolint:errcheck,forcetypeassert // then it is in chunks
			fmt.Fprint(w, "one ")
			w.(http.Flusher).Flush() //nolint:errcheck,forcetypeassert // as above
			fmt.Fprint(w, "two")
		}
	})
	if r.Due != 200 || r.OK != 100 || r.Refused != 50 || r.Failed != 50 || r.Lost != 0 || r.Unsent != 0 || hist.TotalCount() != 100 {
		t.Errorf("%+v, %d latencies", r, hist.TotalCount())
	}
	if r.Reopened != 50 {
		t.Errorf("%d reopened, 50 answers closed", r.Reopened)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) < 50 {
		t.Errorf("%d conns, of which 50 were to be closed", len(seen))
	}
}

func TestLatencyIsFromWhenARequestWasDue(t *testing.T) {
	const stall = 300 * time.Millisecond
	var n atomic.Uint64
	r, hist := run(t, Config{Conns: 1, PerSecond: 100, Duration: time.Second}, func(http.ResponseWriter, *http.Request) {
		if n.Add(1) == 10 {
			<-time.After(stall)
		}
	})
	if r.OK != 100 {
		t.Fatalf("%+v", r)
	}
	// About 30 were due during the stall, at 10 ms each: half of them waited for more than half of it.
	if late := hist.TotalCount() - countBelow(hist, stall/2); late < 10 || late > 40 {
		t.Errorf("%d of 100 requests waited for %v and more", late, stall/2)
	}
}

func countBelow(h *hdrhistogram.Histogram, d time.Duration) (n int64) {
	for _, b := range h.Distribution() {
		if b.To < d.Nanoseconds() {
			n += b.Count
		}
	}
	return n
}

func TestWhatGetsNoAnswerIsLostAndTheConnOpenedAnew(t *testing.T) {
	release := make(chan struct{})
	var n atomic.Uint64
	r, _ := run(t, Config{Conns: 2, PerSecond: 100, Duration: time.Second, Timeout: 100 * time.Millisecond}, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 5 {
			<-release
		}
		if n.Load() == 20 {
			panic(http.ErrAbortHandler)
		}
	})
	close(release)
	if r.Lost != 2 || r.OK+r.Lost+r.Unsent != r.Due || r.Reopened != 2 {
		t.Errorf("%+v", r)
	}
}

func TestTwoTargetsHaveTheirHalvesAndTheirLatencies(t *testing.T) {
	const held = 30 * time.Millisecond
	r, hist := run(t, Config{Conns: 64, PerSecond: 1000, Duration: time.Second, Target: "/held", Beside: "/"}, func(_ http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/held" {
			<-time.After(held)
		}
	})
	beside, err := hdrhistogram.Decode(r.LatencyBeside)
	if err != nil {
		t.Fatal(err)
	}
	if n := hist.TotalCount(); r.OK != 1000 || n < 400 || n > 600 || n+beside.TotalCount() != 1000 {
		t.Errorf("%+v: %d and %d latencies", r, n, beside.TotalCount())
	}
	if countBelow(hist, held-time.Millisecond) != 0 || beside.ValueAtQuantile(50) >= held.Nanoseconds() {
		t.Errorf("p50 of what is held %v, of what is beside it %v", time.Duration(hist.ValueAtQuantile(50)), time.Duration(beside.ValueAtQuantile(50)))
	}
}

func TestWarmRequestsDoNotCount(t *testing.T) {
	var n atomic.Uint64
	r, hist := run(t, Config{Conns: 2, PerSecond: 200, Warm: 500 * time.Millisecond, Duration: 250 * time.Millisecond}, func(http.ResponseWriter, *http.Request) { n.Add(1) })
	if r.Due != 50 || r.OK != 50 || r.Answered != 150 || hist.TotalCount() != 50 || n.Load() != 150 {
		t.Errorf("%+v, %d latencies, %d requests", r, hist.TotalCount(), n.Load())
	}
}
