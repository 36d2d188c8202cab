package xdp

import "github.com/prometheus/client_golang/prometheus"

var (
	descPackets  = prometheus.NewDesc("weir_xdp_packets_total", "Packets, by verdict and reason.", []string{"action", "reason"}, nil)
	descBytes    = prometheus.NewDesc("weir_xdp_bytes_total", "Their bytes.", []string{"action", "reason"}, nil)
	descSlots    = prometheus.NewDesc("weir_xdp_table_slots", "Clients the table can hold.", nil, nil)
	descMode     = prometheus.NewDesc("weir_xdp_mode", "1 for the mode that holds.", []string{"mode"}, nil)
	descAttached = prometheus.NewDesc("weir_xdp_attached", "1 for how the program is attached.", []string{"attach"}, nil)
)

// Collector gives a program's counters to Prometheus. With a nil Program every series is there,
// at 0.
type Collector struct{ Program *Program }

// Describe implements [prometheus.Collector].
func (c Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descPackets, descBytes, descSlots, descMode, descAttached} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c Collector) Collect(ch chan<- prometheus.Metric) {
	var s Stats
	var slots int
	mode, how := ModeOff, AttachMode("")
	if c.Program != nil {
		if err := c.Program.StatsInto(&s); err != nil {
			ch <- prometheus.NewInvalidMetric(descPackets, err)
			return
		}
		slots, mode, how = c.Program.Slots(), c.Program.Mode(), c.Program.How()
	}
	for _, r := range Reasons() {
		for action, n := range map[string]Count{"pass": s.Passed[r], "drop": s.Dropped[r]} {
			if action == "drop" && !r.Drops() {
				continue
			}
			ch <- prometheus.MustNewConstMetric(descPackets, prometheus.CounterValue, float64(n.Packets), action, r.String())
			ch <- prometheus.MustNewConstMetric(descBytes, prometheus.CounterValue, float64(n.Bytes), action, r.String())
		}
	}
	ch <- prometheus.MustNewConstMetric(descSlots, prometheus.GaugeValue, float64(slots))
	for m, name := range modeNames {
		ch <- prometheus.MustNewConstMetric(descMode, prometheus.GaugeValue, is(m == mode), name)
	}
	for _, a := range []AttachMode{AttachNative, AttachGeneric} {
		ch <- prometheus.MustNewConstMetric(descAttached, prometheus.GaugeValue, is(a == how), string(a))
	}
}

func is(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
