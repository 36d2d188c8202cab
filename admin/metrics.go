package admin

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Numbers is a node's state at a moment, for the page and /api/info. Counters are since the
// start; the page takes their differences.
type Numbers struct {
	Version       string            `json:"version"`
	UptimeSeconds float64           `json:"uptime_seconds"`
	Conns         int               `json:"conns"`
	Subscriptions int               `json:"subscriptions"`
	Topics        int               `json:"topics"`
	Published     uint64            `json:"published"`
	Deliveries    uint64            `json:"deliveries"`
	SentBytes     uint64            `json:"sent_bytes"`
	P50Seconds    float64           `json:"p50_seconds"` // of the last seconds
	P99Seconds    float64           `json:"p99_seconds"`
	Closed        map[string]uint64 `json:"closed"`
	// XDP is the mode, or why it is off. Dropped is packets by reason.
	XDP     string            `json:"xdp"`
	Dropped map[string]uint64 `json:"dropped"`
	Passed  uint64            `json:"passed"`
}

// routes are the label values of weir_admin_requests_total.
var routes = []string{"healthz", "readyz", "publish", "broadcast", "info", "why", "gateway", "gateway_explain", "gateway_top", "gateway_reload", "quota", "quota_mode", "quota_top", "quota_explain", "quota_apply", "quota_confirm", "quota_edit", "quota_events", "metrics", "stats", "pprof", "page", "other"}

func (s *Server) initMetrics() {
	s.requests = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_admin_requests_total", Help: "Requests to the admin server, by route and class of status."}, []string{"route", "class"})
	for _, r := range routes {
		for class := 2; class <= 5; class++ {
			s.requests.WithLabelValues(r, strconv.Itoa(class)+"xx")
		}
	}
}

// Describe implements [prometheus.Collector].
func (s *Server) Describe(ch chan<- *prometheus.Desc) { s.requests.Describe(ch) }

// Collect implements [prometheus.Collector].
func (s *Server) Collect(ch chan<- prometheus.Metric) { s.requests.Collect(ch) }

// count counts the requests of a route by the class of their status.
func (s *Server) count(route string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rec := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		h(rec, r)
		s.requests.WithLabelValues(route, strconv.Itoa(rec.status/100)+"xx").Inc()
	}
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets [http.ResponseController] reach the conn.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
