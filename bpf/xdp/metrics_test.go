package xdp

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestEverySeriesIsThereWithoutAProgram(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(Collector{}); err != nil {
		t.Fatal(err)
	}
	drops := 0
	for _, r := range Reasons() {
		if r.Drops() {
			drops++
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]int{}
	for _, f := range families {
		series[f.GetName()] = len(f.GetMetric())
	}
	for name, want := range map[string]int{
		"weir_xdp_packets_total": reasonCount + drops + 1, "weir_xdp_bytes_total": reasonCount + drops + 1,
		"weir_xdp_table_events_total": 3, "weir_xdp_bindings": 1, "weir_xdp_escalations": 1, "weir_xdp_refused_total": 2, "weir_xdp_sieges_total": 1, "weir_xdp_samples_missed_total": drops + 1,
		"weir_xdp_table_slots": 1, "weir_xdp_mode": len(modeNames), "weir_xdp_attached": 2,
	} {
		if series[name] != want {
			t.Errorf("%s: %d series, want %d", name, series[name], want)
		}
	}
}

func TestConfigDefaultsAndBounds(t *testing.T) {
	if err := (Config{Interface: "eth0"}).Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	err := Config{Attach: "sideways", Slots: 1000, IPv4PrefixBits: 33, IPv6PrefixBits: 8}.Validate()
	for _, field := range []string{"Interface", "Attach", "Slots", "IPv4PrefixBits", "IPv6PrefixBits"} {
		if err == nil || !strings.Contains(err.Error(), "xdp."+field+" is") {
			t.Errorf("%s is not in %v", field, err)
		}
	}
}

func TestModesAreReadAsTheyAreWritten(t *testing.T) {
	for m := range modeNames {
		if got, err := ParseMode(m.String()); got != m || err != nil {
			t.Errorf("%v: %v, %v", m, got, err)
		}
	}
	if _, err := ParseMode("loud"); err == nil || !strings.Contains(err.Error(), "want off, shadow, enforce or under-attack") {
		t.Errorf("got %v", err)
	}
}
