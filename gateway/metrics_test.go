package gateway

import (
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// series is the only one of a metric.
func (r *rig) series(t *testing.T, name string) *dto.Metric {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(r.Server)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "weir_gateway_"+name {
			return f.GetMetric()[0]
		}
	}
	t.Fatalf("there is no %s", name)
	return nil
}

// TestTheTimeOfAnUpstreamIsApart has an upstream think for a while.
func TestTheTimeOfAnUpstreamIsApart(t *testing.T) {
	const thinks = 50 * time.Millisecond
	r := serve(t, Config{MaxConns: 77}, plain(accept(t, func(c net.Conn) {
		if _, err := c.Read(make([]byte, 4096)); err == nil {
			<-time.After(thinks)
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"))
		}
	})), Deps{})
	if n := r.series(t, "upstream_seconds").GetHistogram().GetSampleCount(); n != 0 {
		t.Errorf("%d before there was any request", n)
	}
	res, err := http.Get("http://" + r.addr + "/a")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", res, err)
	}
	_ = res.Body.Close()
	eventually(t, "the request has ended", func() bool { return r.series(t, "upstream_seconds").GetHistogram().GetSampleCount() == 1 })
	m := r.series(t, "upstream_seconds")
	if took := m.GetHistogram().GetSampleSum(); took < thinks.Seconds() || m.GetLabel()[0].GetValue() != "u" {
		t.Errorf("%v took %v", m.GetLabel(), took)
	}
	if n := r.series(t, "max_conns").GetGauge().GetValue(); n != 77 {
		t.Errorf("%v conns at most", n)
	}
}

// TestLoopsTellHowLateTheyAre wants a tenth of a second of each loop; over net/http there are none.
func TestLoopsTellHowLateTheyAre(t *testing.T) {
	r := serve(t, Config{Loops: 2}, plain("127.0.0.1:1"), Deps{})
	if *ways != WayLoops {
		if n := r.series(t, "loop_lag_seconds").GetHistogram().GetSampleCount(); n != 0 {
			t.Errorf("%d turns", n)
		}
		return
	}
	eventually(t, "each loop took its turn", func() bool { return r.series(t, "loop_lag_seconds").GetHistogram().GetSampleCount() > 2 })
	if s := r.series(t, "loop_stalled_seconds").GetGauge().GetValue(); s > 5 {
		t.Errorf("stalled for %v s", s)
	}
}
