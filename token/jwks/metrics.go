package jwks

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	descRefreshes = prometheus.NewDesc("weir_jwks_refreshes_total", "Fetches of the JWK set, by result.", []string{"result"}, nil)
	descKeys      = prometheus.NewDesc("weir_jwks_keys", "Keys of the JWK set that tokens are checked with; 0: there are none, or they are too old.", nil, nil)
	descAge       = prometheus.NewDesc("weir_jwks_age_seconds", "Time since the JWK set was fetched that holds; 0: there is none.", nil, nil)
	descMissed    = prometheus.NewDesc("weir_jwks_missed_total", "Tokens that name a key which is not known, forged ones among them.", nil, nil)
	descIgnored   = prometheus.NewDesc("weir_jwks_ignored_keys", "Keys of the JWK set that are left out, by why.", []string{"reason"}, nil)
)

// Describe implements [prometheus.Collector].
func (s *Set) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRefreshes, descKeys, descAge, descMissed, descIgnored} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector]. A nil Set has all, at 0.
func (s *Set) Collect(ch chan<- prometheus.Metric) {
	if s == nil {
		s = &Set{now: time.Now}
	}
	for r := range results {
		ch <- prometheus.MustNewConstMetric(descRefreshes, prometheus.CounterValue, float64(s.results[r].Load()), r.String())
	}
	for i := range ignoredReasons {
		ch <- prometheus.MustNewConstMetric(descIgnored, prometheus.GaugeValue, float64(s.ignored[i].Load()), i.String())
	}
	keys, age := 0, 0.0
	if h := s.holding(); h != nil {
		keys = h.count
	}
	if h := s.current.Load(); h != nil {
		age = s.now().Sub(h.fetched).Seconds()
	}
	ch <- prometheus.MustNewConstMetric(descKeys, prometheus.GaugeValue, float64(keys))
	ch <- prometheus.MustNewConstMetric(descAge, prometheus.GaugeValue, age)
	ch <- prometheus.MustNewConstMetric(descMissed, prometheus.CounterValue, float64(s.misses.Load()))
}
