package access

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/gateway/policy"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// scrape is each series, by its name and labels; a histogram is its count.
func scrape(tb testing.TB, m *Metrics) map[string]float64 {
	tb.Helper()
	out := map[string]float64{}
	for _, f := range gather(tb, m) {
		for _, s := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "weir_gateway_")
			for _, l := range s.GetLabel() {
				name += "," + l.GetValue()
			}
			out[name] = s.GetCounter().GetValue() + float64(s.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func gather(tb testing.TB, m *Metrics) []*dto.MetricFamily {
	tb.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(m)
	families, err := r.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	return families
}

// changed are the series that are not 0.
func changed(tb testing.TB, m *Metrics) map[string]float64 {
	tb.Helper()
	out := scrape(tb, m)
	maps.DeleteFunc(out, func(_ string, v float64) bool { return v == 0 })
	return out
}

var start = time.Unix(1_700_000_000, 0)

func TestEachRequestMovesTheseSeriesAndNoOthers(t *testing.T) {
	admitted := Record{Route: "a", Outcome: policy.Admitted, Status: 200, Total: time.Second, Added: time.Millisecond}
	with := func(change func(r *Record)) Record { r := admitted; change(&r); return r }
	for name, c := range map[string]struct {
		r    Record
		want []string
	}{
		"an answer":                 {admitted, []string{"requests_total,admitted,a", "responses_total,2xx,a"}},
		"of an unknown route":       {with(func(r *Record) { r.Route = "gone" }), []string{"requests_total,admitted,none", "responses_total,2xx,none"}},
		"an error of the upstream":  {with(func(r *Record) { r.Status = 503 }), []string{"requests_total,admitted,a", "responses_total,5xx,a", "failures_total,a"}},
		"half of an answer":         {with(func(r *Record) { r.Cut, r.Sent = true, 7 }), []string{"requests_total,admitted,a", "responses_total,aborted,a", "failures_total,a", "body_bytes_total,sent,a=7"}},
		"no answer":                 {with(func(r *Record) { r.Status = 0 }), []string{"requests_total,admitted,a", "responses_total,aborted,a", "failures_total,a"}},
		"a client that goes":        {with(func(r *Record) { r.Status, r.Gone, r.Cut = 0, true, true }), []string{"requests_total,admitted,a", "responses_total,aborted,a"}},
		"a whole 502 to a HEAD":     {with(func(r *Record) { r.Status, r.Err = 502, fmt.Errorf("x") }), []string{"requests_total,admitted,a", "responses_total,5xx,a", "failures_total,a"}},
		"a status that is none":     {with(func(r *Record) { r.Status = 799 }), []string{"requests_total,admitted,a", "responses_total,aborted,a", "failures_total,a"}},
		"a body":                    {with(func(r *Record) { r.Received, r.Sent = 3, 4 }), []string{"requests_total,admitted,a", "responses_total,2xx,a", "body_bytes_total,received,a=3", "body_bytes_total,sent,a=4"}},
		"an answer of the upstream": {with(func(r *Record) { r.Upstream = time.Second }), []string{"requests_total,admitted,a", "responses_total,2xx,a", "upstream_seconds,u"}},
		"two retries":               {with(func(r *Record) { r.Attempts = 3 }), []string{"requests_total,admitted,a", "responses_total,2xx,a", "retries_total,a=2"}},
		"a refusal by a full host":  {with(func(r *Record) { r.Outcome, r.Status = policy.Shed, 503 }), []string{"requests_total,shed,a", "responses_total,5xx,a"}},
		"policies, each by its result": {with(func(r *Record) {
			r.Policies = []Asked{{"p", false, true}, {"q", true, false}, {"p", false, false}, {"?", false, true}}
		}), []string{"requests_total,admitted,a", "responses_total,2xx,a", "decisions_total,p,allowed", "decisions_total,q,shadow", "decisions_total,p,limited"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMetrics(3, start)
			m.Expect(rulesOf(t, []string{"a", "b"}, []string{"p", "q"}))
			m.Observe(&c.r)
			route := "a"
			if c.r.Route == "gone" {
				route = noRoute
			}
			want := map[string]float64{"request_seconds," + route: 1, "added_seconds," + route: 1}
			for _, w := range c.want {
				n := 1.0
				series, count, counts := strings.Cut(w, "=")
				if counts {
					_, _ = fmt.Sscan(count, &n)
				}
				want[series] = n
			}
			if got := changed(t, m); !maps.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

func TestEveryOutcomeIsCountedOnceInWhateverShard(t *testing.T) {
	m := NewMetrics(3, start)
	m.Expect(rulesOf(t, []string{"a"}, nil))
	if most := slices.Max(policy.Outcomes()); most >= maxOutcomes {
		t.Fatalf("outcome %d has no counter", most)
	}
	var all sync.WaitGroup
	for shard := range uint32(7) {
		all.Go(func() {
			for _, o := range policy.Outcomes() {
				m.Observe(&Record{Shard: shard, Route: "a", Outcome: o, Status: 200})
			}
		})
	}
	all.Wait()
	got := scrape(t, m)
	for _, o := range policy.Outcomes() {
		if n := got["requests_total,"+o.String()+",a"]; n != 7 {
			t.Errorf("%v is %v", o, n)
		}
	}
	if n := got["request_seconds,a"]; n != float64(7*len(policy.Outcomes())) {
		t.Errorf("%v times", n)
	}
}

func TestSeriesAreThereFromTheStartAndGoAtTheReloadAfterTheNext(t *testing.T) {
	m := NewMetrics(1, start)
	has := func(name string) bool { _, ok := scrape(t, m)[name]; return ok }
	if !has("requests_total,malformed,none") {
		t.Error("none is not there before a configuration")
	}
	m.Expect(rulesOf(t, []string{"a"}, []string{"p"}))
	for _, name := range []string{"requests_total,limited,a", "responses_total,aborted,a", "failures_total,a", "body_bytes_total,sent,a", "retries_total,a", "request_seconds,a", "added_seconds,none", "decisions_total,p,shadow"} {
		if !has(name) {
			t.Errorf("no %s", name)
		}
	}
	m.Observe(&Record{Route: "a", Status: 200, Policies: []Asked{{Name: "p"}}})
	m.Expect(rulesOf(t, []string{"b"}, nil))
	m.Observe(&Record{Route: "a", Status: 200, Policies: []Asked{{Name: "p"}}}) // began before
	if got := scrape(t, m); got["requests_total,admitted,a"] != 2 || got["decisions_total,p,limited"] != 2 {
		t.Errorf("after a reload: %v", changed(t, m))
	}
	m.Expect(rulesOf(t, []string{"b"}, nil))
	if has("requests_total,admitted,a") || has("decisions_total,p,limited") || !has("requests_total,admitted,b") {
		t.Error("they do not go")
	}
	m.Expect(rulesOf(t, []string{"a", "b"}, nil))
	if got := scrape(t, m); got["requests_total,admitted,a"] != 0 || got["requests_total,admitted,b"] != 0 {
		t.Errorf("one that is back: %v", changed(t, m))
	}
	m.Observe(&Record{Route: "b", Status: 200})
	m.Expect(rulesOf(t, []string{"a", "b"}, nil))
	if scrape(t, m)["requests_total,admitted,b"] != 1 {
		t.Error("one that stays is forgotten")
	}
}

func TestTimesAreNativeHistogramsAndClassicOnes(t *testing.T) {
	m := NewMetrics(2, start)
	m.Expect(rulesOf(t, []string{"a"}, nil))
	for i := range 1000 {
		m.Observe(&Record{Shard: uint32(i), Route: "a", Status: 200, Total: time.Duration(i+1) * time.Millisecond}) //nolint:gosec // small
	}
	for _, f := range gather(t, m) {
		for _, s := range f.GetMetric() {
			h := s.GetHistogram()
			if h == nil {
				continue
			}
			if len(h.GetPositiveSpan()) == 0 || h.GetSchema() != 3 || len(h.GetBucket()) != len(bounds) {
				t.Errorf("%s %v is no native histogram: %v", f.GetName(), s.GetLabel(), h)
			}
			count, n := int64(0), int64(h.GetZeroCount()) //nolint:gosec // small
			for _, d := range h.GetPositiveDelta() {
				count += d
				n += count
			}
			length := uint32(0)
			for _, span := range h.GetPositiveSpan() {
				length += span.GetLength()
			}
			if n != int64(h.GetSampleCount()) || int(length) != len(h.GetPositiveDelta()) { //nolint:gosec // small
				t.Errorf("%s: %d in buckets of %d, %d buckets of %d", f.GetName(), n, h.GetSampleCount(), len(h.GetPositiveDelta()), length)
			}
			if f.GetName() == "weir_gateway_request_seconds" && h.GetSampleCount() == 1000 {
				if sum := h.GetSampleSum(); sum < 500.4 || sum > 500.6 {
					t.Errorf("sum %v", sum)
				}
				if b := h.GetBucket()[11]; b.GetUpperBound() != .5 || b.GetCumulativeCount() < 430 || b.GetCumulativeCount() > 500 {
					t.Errorf("%d up to %v", b.GetCumulativeCount(), b.GetUpperBound())
				}
			}
		}
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	m := NewMetrics(2, start)
	m.Expect(rulesOf(t, []string{"a"}, []string{"p"}))
	r := &Record{Route: "a", Status: 200, Total: 5, Upstream: 3, Policies: []Asked{{Name: "p"}}}
	if n := testing.AllocsPerRun(100, func() { m.Observe(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRecentIsOfTheLastMinute(t *testing.T) {
	m := NewMetrics(2, start)
	m.Expect(rulesOf(t, []string{"a", "b"}, nil))
	at := start
	step := func(n int, r Record) {
		for range n {
			m.Observe(&r)
		}
		at = at.Add(MarkEvery)
		m.Mark(at)
	}
	slow := Record{Route: "a", Status: 500, Total: time.Second, Added: 100 * time.Millisecond}
	quick := Record{Route: "a", Status: 200, Total: time.Millisecond, Added: 100 * time.Microsecond}
	refused := Record{Route: "b", Outcome: policy.Limited, Status: 429}
	step(10, slow)
	all, routes := m.Recent(at)
	if r := routes["a"]; r.Requests != 10 || r.Failed != 10 || r.FailedPart != 1 || r.Seconds != 15 || r.Total.P50 < 1 || r.Total.P999 > 1.125 || all.Requests != 10 {
		t.Errorf("at first: %+v", r)
	}
	step(90, quick)
	step(100, refused)
	for range 2 {
		step(0, quick)
	}
	all, routes = m.Recent(at) // the oldest mark is behind the slow ones
	if r := routes["a"]; r.Requests != 90 || r.Failed != 0 || r.Total.P999 > .00113 || r.Added.P50 < .0001 || r.Added.P50 > .000113 || r.Seconds != 60 {
		t.Errorf("a minute later: %+v", r)
	}
	if r := routes["b"]; r.Refused != 100 || r.RefusedPart != 1 || r.Failed != 0 || !maps.Equal(r.Outcomes, map[string]uint64{"limited": 100}) {
		t.Errorf("refused: %+v", r)
	}
	if all.Requests != 190 || all.Refused != 100 || all.PerSecond < 3.1 || all.PerSecond > 3.2 || all.Added.P999 > .000113 {
		t.Errorf("all: %+v", all)
	}
	for range 5 {
		step(0, quick)
	}
	if all, _ = m.Recent(at); all.Requests != 0 || all.Total != (Quantiles{}) || all.FailedPart != 0 {
		t.Errorf("nobody came: %+v", all)
	}
	m.Observe(&quick)
	if all, _ = m.Recent(at); all.Requests != 1 {
		t.Errorf("one came: %+v", all)
	}
}
