package upstream

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// probed is a Prober that notes when it is asked.
type probed struct {
	mu    sync.Mutex
	times map[string][]time.Time
	hosts map[string]string
	err   error
	hang  bool
}

func (p *probed) Probe(ctx context.Context, address string, h Health) error {
	p.mu.Lock()
	if p.times == nil {
		p.times, p.hosts = map[string][]time.Time{}, map[string]string{}
	}
	p.times[address] = append(p.times[address], time.Now())
	p.hosts[address] = h.Host
	err, hang := p.err, p.hang
	p.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (p *probed) of(address string) []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.times[address])
}

// running is a pool that runs until the test ends.
func running(t *testing.T, cfg Config, env Env) *Pool {
	t.Helper()
	if env.Random == nil {
		env.Random = seeded().Random
	}
	p, err := New(cfg, env, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { p.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return p
}

func TestServersAreNotCheckedInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr := &probed{}
		cfg := Config{Servers: servers(50), Health: Health{Interval: 10 * time.Second}}
		start := time.Now()
		running(t, cfg, Env{Prober: pr})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		var quarters [4]int
		intervals := map[time.Duration]bool{}
		for _, s := range cfg.Servers {
			times := pr.of(s.Address)
			if n := len(times); n < 55 || n > 66 {
				t.Errorf("%s was checked %d times in 10 min", s.Address, n)
			}
			quarters[times[0].Sub(start)*4/cfg.Health.Interval]++
			for i := range times[1:] {
				d := times[i+1].Sub(times[i])
				if d < 9*time.Second || d > 11*time.Second {
					t.Errorf("%s was checked after %v", s.Address, d)
				}
				intervals[d] = true
			}
			if got := pr.hosts[s.Address]; got != s.Address {
				t.Errorf("the host of %s is %q", s.Address, got)
			}
		}
		if len(intervals) < 1000 {
			t.Errorf("intervals have %d lengths", len(intervals))
		}
		for i, n := range quarters {
			if n < 5 || n > 20 {
				t.Errorf("of 50 first checks %d are in quarter %d of the interval", n, i)
			}
		}
	})
}

func TestACheckThatHangsFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr := &probed{hang: true}
		cfg := Config{Servers: servers(3), PanicPercent: 100, Health: Health{Interval: 10 * time.Second, Timeout: 10 * time.Second}}
		p := running(t, cfg, Env{Prober: pr})
		time.Sleep(21 * time.Second)
		synctest.Wait()
		for _, st := range p.Status(time.Now()) {
			if st.State != Down || st.LastCheck != context.DeadlineExceeded.Error() {
				t.Errorf("it is %+v", st)
			}
		}
	})
}

func TestRunGoesByTheUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr := &probed{}
		cfg := Config{Servers: servers(2)}
		p := running(t, cfg, Env{Prober: pr})
		time.Sleep(time.Hour)
		if got := pr.of(cfg.Servers[0].Address); got != nil {
			t.Fatalf("checked %d times without checks", len(got))
		}
		update := func(c Config) {
			t.Helper()
			if err := p.Update(c, time.Now()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		cfg.Health.Interval = time.Hour
		update(cfg)
		cfg.Health.Interval = time.Second
		update(cfg) // not after an hour
		time.Sleep(10 * time.Second)
		synctest.Wait()
		first := len(pr.of(cfg.Servers[0].Address))
		if first < 8 || first > 11 {
			t.Errorf("checked %d times in 10 s", first)
		}
		cfg.Servers = servers(3)[1:]
		update(cfg)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := len(pr.of(servers(1)[0].Address)); got != first {
			t.Errorf("a server that is gone was checked %d times more", got-first)
		}
		if got := len(pr.of(cfg.Servers[1].Address)); got < 8 {
			t.Errorf("a new one was checked %d times", got)
		}
		cfg.Health = Health{}
		update(cfg)
		before := len(pr.of(cfg.Servers[0].Address))
		time.Sleep(time.Hour)
		if got := len(pr.of(cfg.Servers[0].Address)); got != before {
			t.Errorf("checked %d times without checks", got-before)
		}
	})
}

// zone is a Resolver whose answers change, and that counts.
type zone struct {
	mu    sync.Mutex
	names names
	asked int
}

func (z *zone) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	return z.names.LookupNetIP(ctx, network, host)
}

func (z *zone) count() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked
}

func (z *zone) set(name string, ips ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.names[name] = addrs(ips...)
}

func TestRunResolvesAtOnceAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{names: names{}}
		cfg := Config{Servers: []ServerConfig{{Address: "a.test:80"}}, Resolve: 30 * time.Second}
		p := running(t, cfg, Env{Resolver: z, Prober: &probed{}})
		want := func(addresses ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for _, s := range p.members() {
				got = append(got, s.Address())
			}
			if !slices.Equal(got, addresses) {
				t.Errorf("servers are %q, want %q", got, addresses)
			}
		}
		want()
		z.set("a.test", "192.0.2.1")
		time.Sleep(resolveRetry) // sooner than Resolve, since it failed
		want("192.0.2.1:80")
		z.set("a.test", "192.0.2.2", "192.0.2.1")
		time.Sleep(34 * time.Second)
		want("192.0.2.1:80", "192.0.2.2:80")
		z.set("b.test", "192.0.2.3")
		cfg.Servers = append(cfg.Servers, ServerConfig{Address: "b.test:80"})
		if err := p.Update(cfg, time.Now()); err != nil {
			t.Fatal(err)
		}
		want("192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80")
		before := z.count()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := z.count() - before; got < 36 || got > 46 {
			t.Errorf("two names were looked up %d times in 10 min", got)
		}
	})
}

func TestAddressesThatWereFoundAreCheckedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr := &probed{}
		z := &zone{names: names{"a.test": addrs("192.0.2.1")}}
		cfg := Config{Servers: []ServerConfig{{Address: "a.test:80"}}, Resolve: time.Hour, Health: Health{Interval: 100 * time.Millisecond}}
		running(t, cfg, Env{Resolver: z, Prober: pr})
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if got := pr.of("192.0.2.1:80"); len(got) == 0 || pr.hosts["192.0.2.1:80"] != "a.test:80" {
			t.Errorf("checked %d times; hosts %v", len(got), pr.hosts)
		}
	})
}

func TestNothingIsKeptOfTheChecksOfServersThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Servers: servers(3), Health: Health{Interval: time.Second}}
		p, err := New(cfg, Env{Prober: &probed{}}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		r := runner{pool: p, checks: map[*Server]*check{}}
		r.step(t.Context(), time.Now())
		cfg.Servers = cfg.Servers[:1]
		if err := p.Update(cfg, time.Now()); err != nil {
			t.Fatal(err)
		}
		r.step(t.Context(), time.Now())
		if len(r.checks) != 1 {
			t.Errorf("%d are", len(r.checks))
		}
		r.wg.Wait()
	})
}
