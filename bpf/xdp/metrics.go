package xdp

import "github.com/prometheus/client_golang/prometheus"

var (
	descPackets     = prometheus.NewDesc("weir_xdp_packets_total", "Packets, by verdict and reason.", []string{"action", "reason"}, nil)
	descBytes       = prometheus.NewDesc("weir_xdp_bytes_total", "Their bytes.", []string{"action", "reason"}, nil)
	descSlots       = prometheus.NewDesc("weir_xdp_table_slots", "Clients the table can hold.", nil, nil)
	descMode        = prometheus.NewDesc("weir_xdp_mode", "1 for the mode that holds.", []string{"mode"}, nil)
	descEvents      = prometheus.NewDesc("weir_xdp_table_events_total", "Slots taken, clients without room for one (table pressure), connections not counted.", []string{"event"}, nil)
	descSieges      = prometheus.NewDesc("weir_xdp_sieges_total", "Times that SYNs began to be answered with cookies.", nil, nil)
	descMissed      = prometheus.NewDesc("weir_xdp_samples_missed_total", "Refused packets that no sample was made of while somebody listened.", []string{"reason"}, nil)
	descBindings    = prometheus.NewDesc("weir_xdp_bindings", "Connections that are charged to an identity.", nil, nil)
	descEscalations = prometheus.NewDesc("weir_xdp_escalations", "Clients that are escalated: cut below their quotas for a time.", nil, nil)
	descRefused     = prometheus.NewDesc("weir_xdp_refused_total", "Bindings and escalations that there was no room for.", []string{"what"}, nil)
	descAttached    = prometheus.NewDesc("weir_xdp_attached", "1 for how the program is attached.", []string{"attach"}, nil)
)

// Collector gives a program's counters to Prometheus. With a nil Program every series is there,
// at 0.
type Collector struct{ Program *Program }

// Describe implements [prometheus.Collector].
func (c Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descPackets, descBytes, descSlots, descMode, descAttached, descEvents, descSieges, descMissed, descBindings, descEscalations, descRefused} {
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
		for action, n := range map[string]Count{"pass": s.Passed[r], "drop": s.Dropped[r], "answer": s.Answered[r]} {
			if action == "drop" && !r.Drops() || action == "answer" && r != ReasonCookieSent {
				continue
			}
			ch <- prometheus.MustNewConstMetric(descPackets, prometheus.CounterValue, float64(n.Packets), action, r.String())
			ch <- prometheus.MustNewConstMetric(descBytes, prometheus.CounterValue, float64(n.Bytes), action, r.String())
		}
	}
	for _, r := range Reasons() {
		if r.Drops() || r == ReasonCookieSent {
			ch <- prometheus.MustNewConstMetric(descMissed, prometheus.CounterValue, float64(s.NotSampled[r]), r.String())
		}
	}
	for event, n := range map[string]uint64{"slot_taken": s.SlotsTaken, "slot_lost": s.SlotsLost, "conn_lost": s.ConnsLost} {
		ch <- prometheus.MustNewConstMetric(descEvents, prometheus.CounterValue, float64(n), event)
	}
	ch <- prometheus.MustNewConstMetric(descSieges, prometheus.CounterValue, float64(s.Sieges))
	ch <- prometheus.MustNewConstMetric(descSlots, prometheus.GaugeValue, float64(slots))
	ch <- prometheus.MustNewConstMetric(descBindings, prometheus.GaugeValue, float64(s.Bindings))
	ch <- prometheus.MustNewConstMetric(descEscalations, prometheus.GaugeValue, float64(s.Escalations))
	for what, n := range map[string]uint64{"binding": s.BindingsRefused, "escalation": s.EscalationsRefused} {
		ch <- prometheus.MustNewConstMetric(descRefused, prometheus.CounterValue, float64(n), what)
	}
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
