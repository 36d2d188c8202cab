package bus

import (
	"testing"

	"weir/broker"

	"github.com/prometheus/client_golang/prometheus"
)

// gauges are the bus's, by name; of several series of one the sum.
func gauges(t *testing.T, b *Bus) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(b)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			all[f.GetName()] += m.GetGauge().GetValue()
		}
	}
	return all
}

func TestTheStoreSaysHowFullItIs(t *testing.T) {
	const most = 64 << 20
	own := open(t, Config{MaxBytes: most, Listen: "127.0.0.1:0", Secret: testSecret})
	publish(t, own, "a", "1")
	got := gauges(t, own)
	if got["weir_bus_max_bytes"] != most || got["weir_bus_shard_max_bytes"] != most/broker.Shards || got["weir_bus_shards"] != 1 || got["weir_bus_stored_bytes"] == 0 {
		t.Errorf("%v", got)
	}
	other := gauges(t, join(t, own.ListenAddr().String(), testSecret))
	if other["weir_bus_max_bytes"] != 0 || other["weir_bus_shard_max_bytes"] != 0 || other["weir_bus_stored_bytes"] != 0 {
		t.Errorf("of another's: %v", other)
	}
}
