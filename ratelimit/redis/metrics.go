package redis

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	descConnected = desc("connected", "Whether there is a connection to Redis, and it answered what it was asked last: 1, or 0; 0 before it is asked.")
	descBreaker   = desc("breaker_open", "Whether requests do not wait for Redis, but for one each redis.retry: 1, or 0.")
	descRequests  = desc("requests_total", "Requests to Redis: round trips.")
	descErrors    = desc("errors_total", "Requests to Redis that decided nothing, by why; connect: there was no connection to ask by.", "reason")
	descWithout   = desc("fallbacks_total", "Decisions that were made without Redis, as the policies say.")
	descLeases    = desc("leases", "Clients that have a lease.")
	descHeld      = desc("lease_units_held", "Units of leases that nobody has spent.")
	descRefills   = desc("lease_refills_total", "Refills of leases that were asked for.")
	descUnits     = desc("lease_units_total", "Units by what became of them; forfeited: nobody knows whether they were given back; lost: charged late, and Redis may not have heard.", "result")
	descStrict    = desc("lease_misses_total", "Requests that asked Redis, as there was no room for a lease (full), or too many waited (crowded).", "reason")
	descCached    = desc("lease_refusals_total", "Requests refused without asking, as Redis had refused the like.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weir_gateway_redis_"+name, help, labels, nil)
}

// Metrics are what Stores count, one after another: a Store that takes another one's place goes on with its sums. Its methods may be
// called from any goroutine; the zero value is of no Store, with all series at 0.
type Metrics struct {
	mu     sync.Mutex
	stores []*Store // the last is the one that is asked
	before Stats    // of those that are gone
}

// Add has a Store counted.
func (m *Metrics) Add(s *Store) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stores = append(m.stores, s)
}

// Remove keeps what a Store has counted, which is closed.
func (m *Metrics) Remove(s *Store) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.stores, s); i >= 0 {
		m.stores = slices.Delete(m.stores, i, i+1)
		gone := s.Stats()
		gone.Leases, gone.Outstanding = 0, 0 // nobody has them any more
		m.before.add(&gone)
	}
}

// sum is of all Stores, with the state of the last.
func (m *Metrics) sum() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.before
	all.Connected, all.Open = false, false
	for _, s := range m.stores {
		st := s.Stats()
		all.add(&st)
		all.Connected, all.Open = st.Connected, st.Open
	}
	return all
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descConnected, descBreaker, descRequests, descErrors, descWithout, descLeases, descHeld, descRefills, descUnits, descStrict, descCached,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	is := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	s := m.sum()
	gauge(descConnected, is(s.Connected))
	gauge(descBreaker, is(s.Open))
	count(descRequests, s.Asked)
	for i, n := range s.Failed {
		count(descErrors, n, failureNames[i])
	}
	count(descWithout, s.Gone)
	gauge(descLeases, float64(s.Leases))
	gauge(descHeld, float64(s.Outstanding))
	count(descRefills, s.Refills)
	count(descUnits, s.Leased, "leased")
	count(descUnits, s.GivenBack, "given_back")
	count(descUnits, s.Forfeited, "forfeited")
	count(descUnits, s.Lost, "lost")
	count(descStrict, s.Full, "full")
	count(descStrict, s.Crowded, "crowded")
	count(descCached, s.Cached)
}
