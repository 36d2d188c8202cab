package main

import (
	"sync"
	"time"

	"weir/admin"
	"weir/edge/loop"
	"weir/internal/hist"
)

// latencyWindow is the age of the deliveries whose quantiles are shown, at least.
const latencyWindow = 2 * time.Second

// numbers gathers a node's state. Several pages may ask at once.
type numbers struct {
	node *node

	mu     sync.Mutex
	base   hist.Snapshot // the latencies at the begin of the window
	next   hist.Snapshot // and at the begin of the next one
	nextAt time.Time
}

func (m *numbers) now(g *guard) admin.Numbers {
	n := m.node
	out := admin.Numbers{
		Version:       version(),
		UptimeSeconds: time.Since(n.started).Seconds(),
		Published:     n.bus.Published(),
		Closed:        map[string]uint64{},
		XDP:           g.describe(),
		Dropped:       map[string]uint64{},
	}
	g.numbers(&out)
	if n.front == nil {
		return out
	}
	st := n.front.Stats()
	out.Conns, out.Subscriptions, out.Topics = st.Conns, st.Subscriptions, st.Topics
	out.Deliveries, out.SentBytes = st.Deliveries, st.SentBytes
	for _, r := range loop.Reasons() {
		out.Closed[r.String()] = st.Closed[r]
	}
	window := m.window(&st.Latency)
	out.P50Seconds = time.Duration(window.Quantile(0.5)).Seconds()
	out.P99Seconds = time.Duration(window.Quantile(0.99)).Seconds()
	return out
}

// window is what was recorded since about latencyWindow ago.
func (m *numbers) window(latest *hist.Snapshot) hist.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if now.Sub(m.nextAt) >= latencyWindow {
		m.base = m.next
		m.next, m.nextAt = *latest, now
	}
	window := *latest
	window.Sub(&m.base)
	return window
}
