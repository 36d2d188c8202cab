package access

import (
	"testing"
	"time"
)

func TestUpstreamsHaveTheTimeOfAllTheirRoutes(t *testing.T) {
	m := NewMetrics(2, start)
	took := func(route string, d time.Duration) {
		for shard := range uint32(3) {
			m.Observe(&Record{Shard: shard, Route: route, Status: 200, Upstream: d})
		}
	}
	has := func(upstream string, count float64, known bool) {
		t.Helper()
		if got, ok := scrape(t, m)["upstream_seconds,"+upstream]; ok != known || got != count {
			t.Errorf("%s: %v, %v, want %v, %v", upstream, got, ok, count, known)
		}
	}
	m.expect(map[string]string{"a": "u", "b": "u", "c": "v", "d": ""}, nil)
	for _, route := range []string{"a", "b", "c", "d", "unknown"} {
		took(route, time.Millisecond)
	}
	took("a", 0) // no server was asked
	has("u", 6, true)
	has("v", 3, true)
	m.expect(map[string]string{"a": "v"}, nil) // requests that are under way may be u's
	took("a", time.Millisecond)
	has("u", 6, true)
	has("v", 6, true)
	m.expect(map[string]string{"a": "v"}, nil)
	has("u", 0, false)
	has("v", 6, true)
	m.expect(map[string]string{"a": "u"}, nil)
	has("u", 0, true)
}
