package redis

import (
	"maps"
	"strings"
	"testing"
	"time"

	"weir/ratelimit"

	"github.com/prometheus/client_golang/prometheus"
)

// scrape is each series, by its name and label.
func scrape(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(m)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "weir_gateway_redis_")
			for _, l := range s.GetLabel() {
				name += " " + l.GetValue()
			}
			all[name] = s.GetCounter().GetValue() + s.GetGauge().GetValue()
		}
	}
	return all
}

// moved are the series that are not 0.
func moved(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	all := scrape(t, m)
	maps.DeleteFunc(all, func(_ string, v float64) bool { return v == 0 })
	return all
}

func TestAllSeriesAreThereFromTheStart(t *testing.T) {
	all := scrape(t, &Metrics{})
	for _, name := range []string{
		"connected", "breaker_open", "requests_total", "errors_total connect", "errors_total timeout", "errors_total broken", "errors_total answer",
		"fallbacks_total", "leases", "lease_units_held", "lease_refills_total", "lease_units_total leased", "lease_units_total given_back",
		"lease_units_total forfeited", "lease_units_total lost", "lease_misses_total full", "lease_misses_total crowded", "lease_refusals_total",
	} {
		if v, ok := all[name]; !ok || v != 0 {
			t.Errorf("%s is %v, %v", name, v, ok)
		}
		delete(all, name)
	}
	if len(all) > 0 {
		t.Errorf("and %v", all)
	}
}

// TestWhyRedisDidNotDecideIsCounted has a server fail in each way, once; the second request finds the breaker open.
func TestWhyRedisDidNotDecideIsCounted(t *testing.T) {
	for name, row := range map[string]struct {
		address string
		asked   float64
	}{
		"connect": {freeAddress(t), 0}, "timeout": {startImpostor(t, "").address, 1}, "broken": {startImpostor(t, hangsUp).address, 1},
		"answer": {startImpostor(t, "-OOM command not allowed\r\n").address, 1},
	} {
		for _, mode := range []Mode{ModeStrict, ModeLease} {
			t.Run(name+" "+mode.String(), func(t *testing.T) {
				p := perHour("a", 1000)
				p.Mode = mode
				cfg := Config{Addresses: []string{row.address}, Failures: 1, Retry: time.Minute, Timeout: time.Second} // a test's machine may be slow
				if name == "timeout" {
					cfg.Timeout = 50 * time.Millisecond
				}
				s := open(t, cfg, p)
				if name != "connect" { // so that what is met is not that there is no connection yet
					if _, err := s.link.get(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				var m Metrics
				m.Add(s)
				var out [1]ratelimit.Decision
				for range 2 {
					if _, err := s.Take(t.Context(), checksOf(s, "x", 1, "a"), out[:]); err == nil {
						t.Error("it decides")
					}
				}
				s.Close() // what was asked has ended
				got := moved(t, &m)
				want := map[string]float64{"errors_total " + name: 1, "fallbacks_total": 2, "breaker_open": 1, "requests_total": row.asked}
				maps.DeleteFunc(want, func(_ string, v float64) bool { return v == 0 })
				maps.DeleteFunc(got, func(name string, _ float64) bool { return strings.HasPrefix(name, "lease") })
				if !maps.Equal(got, want) {
					t.Errorf("%v, want %v", got, want)
				}
			})
		}
	}
}

// TestAStoreThatTakesAnothersPlaceGoesOnWithItsSums has a lease be given, and the store replaced as by a reload.
func TestAStoreThatTakesAnothersPlaceGoesOnWithItsSums(t *testing.T) {
	address := startRedis(t, "").address
	p := leased("a", 1000, time.Hour, 1000, 100)
	var m Metrics
	before, next := open(t, Config{Addresses: []string{address}}, p), open(t, Config{Addresses: []string{address}}, p)
	m.Add(before)
	take := func(s *Store) {
		t.Helper()
		mustTake(t, s, true, checksOf(s, "x", 1, "a"))
	}
	take(before)
	one := moved(t, &m)
	if one["connected"] != 1 || one["requests_total"] < 1 || one["leases"] != 1 || one["lease_refills_total"] < 1 || one["lease_units_total leased"] < 1 {
		t.Errorf("one request: %v", one)
	}
	m.Add(next)
	if got := moved(t, &m); got["connected"] != 0 || got["leases"] != 1 {
		t.Errorf("two stores, the second of which was not asked: %v", got)
	}
	take(next)
	before.Close()
	sum := scrape(t, &m)
	m.Remove(before)
	m.Remove(before) // which changes nothing
	got := scrape(t, &m)
	if got["leases"] != 1 || got["connected"] != 1 {
		t.Errorf("the second store alone: %v", got)
	}
	for name, n := range sum {
		if strings.Contains(name, "_total") && got[name] != n {
			t.Errorf("%s is %v, and was %v", name, got[name], n)
		}
	}
	m.Remove(next)
	if got := moved(t, &m); got["connected"] != 0 || got["leases"] != 0 || got["requests_total"] != sum["requests_total"] {
		t.Errorf("no store: %v", got)
	}
}
