package redis

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/ratelimit"

	"github.com/redis/rueidis"
)

// cluster is a primary with two replicas, which a Sentinel watches.
type cluster struct {
	tb       testing.TB
	sentinel string
	servers  []*server
}

func startCluster(tb testing.TB) *cluster {
	tb.Helper()
	c := &cluster{tb: tb, sentinel: freeAddress(tb)}
	c.servers = append(c.servers, startRedis(tb, ""))
	host, port, _ := strings.Cut(c.servers[0].address, ":")
	for range 2 {
		c.servers = append(c.servers, startRedis(tb, "", "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0"))
	}
	_, own, _ := strings.Cut(c.sentinel, ":")
	path := filepath.Join(tb.TempDir(), "sentinel.conf")
	conf := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor weir %s %s 1\nsentinel down-after-milliseconds weir 300\nsentinel failover-timeout weir 1000\n",
		own, filepath.Dir(path), host, port)
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command("redis-server", path, "--sentinel")
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	s := &server{t: tb, address: c.sentinel, cmd: cmd}
	tb.Cleanup(s.kill)
	c.until("two replicas known", func() bool { return c.ask("replicas") == "2" })
	return c
}

// ask is what the Sentinel says of the primary.
func (c *cluster) ask(what string) string {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{c.sentinel}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		return ""
	}
	defer client.Close()
	m, err := client.Do(c.tb.Context(), client.B().Arbitrary("SENTINEL", "MASTER", "weir").Build()).AsStrMap()
	if err != nil {
		return ""
	}
	if what == "replicas" {
		return m["num-slaves"]
	}
	return m["ip"] + ":" + m["port"]
}

func (c *cluster) until(what string, ok func() bool) {
	c.tb.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.tb.Fatalf("not %s", what)
		}
	}
}

// killPrimary returns when another one is in its place.
func (c *cluster) killPrimary() {
	c.tb.Helper()
	old := c.ask("address")
	for _, s := range c.servers {
		if s.address == old {
			s.kill()
		}
	}
	c.until("failed over from "+old, func() bool { now := c.ask("address"); return now != old && now != "" })
}

// TestBoundHoldsWhileThePrimaryIsKilledTwice: three gateways and ten clients, each at five times its quota. What is let
// through is no more than the quota and twice the bound that is stated, and little less than the quota.
func TestBoundHoldsWhileThePrimaryIsKilledTwice(t *testing.T) { boundHolds(t, ModeStrict, 0) }

// TestBoundOfLeasesHoldsWhileThePrimaryIsKilledTwice is the same with units that are leased, which are beyond it once.
func TestBoundOfLeasesHoldsWhileThePrimaryIsKilledTwice(t *testing.T) { boundHolds(t, ModeLease, 5) }

func boundHolds(t *testing.T, mode Mode, slice uint64) {
	t.Helper()
	const gateways, clients, perSecond, burst = 3, 10, 40, 20
	c := startCluster(t)
	p := Policy{Quota: ratelimit.Quota{Name: "p", Rate: ratelimit.Rate{Count: perSecond, Per: time.Second}, Burst: burst}, Mode: mode, Slice: slice}
	var through [clients]atomic.Uint64
	var without, broken atomic.Uint64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	began := time.Now()
	var bound Bound
	for range gateways {
		s := open(t, Config{
			Addresses: []string{c.sentinel}, Sentinel: "weir", Gateways: gateways, Retry: 50 * time.Millisecond, Timeout: 100 * time.Millisecond,
		}, p)
		bound = s.Bound("p")
		sweep(t, s)
		for i := range clients {
			wg.Go(func() {
				tick := time.NewTicker(time.Second * gateways / (5 * perSecond))
				defer tick.Stop()
				checks := []ratelimit.Check{{Limit: s.Limit("p"), Key: fmt.Append(nil, i), Cost: 1}}
				var out [1]ratelimit.Decision
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
					}
					allowed, err := s.Take(t.Context(), checks, out[:])
					switch {
					case errors.Is(err, ErrGone):
						without.Add(1)
					case err != nil:
						broken.Add(1)
					}
					if allowed {
						through[i].Add(1)
					}
				}
			})
		}
	}
	decided := func() bool { // by Redis, for a while
		before := without.Load()
		<-time.After(200 * time.Millisecond)
		return without.Load() == before
	}
	for range 2 {
		c.until("served by Redis", decided)
		c.killPrimary()
	}
	c.until("served by Redis", decided)
	for left := 10*time.Second - time.Since(began); left > 0; left = 0 {
		<-time.After(left)
	}
	close(stop)
	wg.Wait()
	quota := perSecond*time.Since(began).Seconds() + burst
	beyond := bound.Lease + 2*(bound.Failover+bound.Fallback)
	for i := range through {
		got := float64(through[i].Load())
		if got > quota+float64(beyond) {
			t.Errorf("client %d: %v were let through, the quota is %.0f, the bound beyond it %d", i, got, quota, beyond)
		}
		if got < 0.99*(quota-burst) {
			t.Errorf("client %d: %v were let through, the quota is %.0f", i, got, quota)
		}
	}
	if without.Load() == 0 || broken.Load() > 0 {
		t.Errorf("%d decisions without Redis, %d broken", without.Load(), broken.Load())
	}
	t.Logf("quota %.0f, client 0 had %d, the bound is %+v; %d decisions without Redis", quota, through[0].Load(), bound, without.Load())
}
