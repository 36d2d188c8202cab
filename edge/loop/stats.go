package loop

import (
	"sync/atomic"
	"time"

	"weir/broker"
	"weir/edge/hub"
	"weir/edge/tlsconn"
	"weir/internal/hist"
)

// stats are one loop's counters, written by the loop and read by anyone.
type stats struct {
	_             [64]byte // keeps loops' counters on lines of their own
	subscriptions atomic.Int64
	accepted      atomic.Uint64
	adopted       atomic.Uint64
	deflating     atomic.Uint64
	writes        atomic.Uint64
	deliveries    atomic.Uint64
	sentBytes     atomic.Uint64
	pings         atomic.Uint64
	pongs         atomic.Uint64
	stalls        atomic.Uint64
	behind        atomic.Int64
	skipped       atomic.Uint64
	heldProcess   atomic.Int64
	heldKernel    atomic.Int64
	tlsKernel     atomic.Int64
	tlsProcess    atomic.Int64
	closed        [reasons]atomic.Uint64
	latency       hist.Histogram
}

// Stats are the edge's counters since its start, over all loops.
type Stats struct {
	// Conns are the conns held now, Subscriptions theirs, Topics those open on this node.
	Conns, Subscriptions, Topics int
	// MaxConns is how many conns may be held: Config.MaxConns, or fewer as descriptors bound it.
	MaxConns int
	// Patterns are those of the topics with a wildcard, Matched how events were matched with them.
	Patterns int
	Matched  broker.MatchStats
	// Accepted counts handshakes answered with a subscription.
	Accepted uint64
	// Adopted counts conns that were taken over from another process.
	Adopted uint64
	// AcceptedDeflate counts those of them that agreed on permessage-deflate.
	AcceptedDeflate uint64
	// Deflated counts compressed events and what compression saved, each once an encoding.
	Deflated hub.DeflateStats
	// Writes counts calls that sent events or controls, Deliveries the events in them.
	Writes, Deliveries uint64
	// SentBytes counts bytes handed to the kernel or queued for it.
	SentBytes uint64
	// Pings counts pings from clients, answered or, in a flood, joined with a later one.
	Pings uint64
	// Pongs counts pongs from clients, asked for or not.
	Pongs uint64
	// InboxStalls counts how often the broker's reader waited for a loop.
	InboxStalls uint64
	// Lag is how late event loops took their turns, a value for each tick of each; Stalled is how long the one that is stuck longest
	// has not taken its turn, and still does not.
	Lag     hist.Snapshot
	Stalled time.Duration
	// Behind are the subscriptions now whose conns have bytes outstanding, and which are therefore
	// not written to. Skipped counts events that such were not sent, of topics in mode latest.
	Behind  int
	Skipped uint64
	// HeldProcess and HeldKernel are the bytes that wait for clients which are behind, here and in
	// their sockets.
	HeldProcess, HeldKernel int64
	// TLSKernel and TLSProcess are the TLS conns held now, by where their records are made.
	TLSKernel, TLSProcess int64
	// TLS counts handshakes and changes of certificates.
	TLS tlsconn.Stats
	// RateOverflows counts conns let in without a look at their prefix's rate: its place among
	// those remembered was taken by others that owe.
	RateOverflows uint64
	// Closed counts conns that ended, by reason.
	Closed [reasons]uint64
	// Latency is the age of events at their write: from the publisher's weir to ours.
	Latency hist.Snapshot
}

// Stats sums up all loops.
func (s *Server) Stats() Stats {
	var total Stats
	s.StatsInto(&total)
	return total
}

// StatsInto is Stats into memory that the caller reuses.
func (s *Server) StatsInto(total *Stats) {
	*total = Stats{Conns: s.Conns(), MaxConns: min(s.cfg.MaxConns, s.maxFD), Topics: s.hub.Topics(), Deflated: s.hub.Deflated(), RateOverflows: s.gate.Overflows()}
	total.Patterns, total.Matched = s.hub.Patterns()
	if s.tls != nil {
		total.TLS = s.tls.handshaker.Stats()
		for r := range s.tls.closed {
			total.Closed[r] = s.tls.closed[r].Load()
		}
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var snap hist.Snapshot
	for _, l := range s.loops {
		st := l.stats
		total.Subscriptions += int(st.subscriptions.Load())
		total.Accepted += st.accepted.Load()
		total.Adopted += st.adopted.Load()
		total.AcceptedDeflate += st.deflating.Load()
		total.Writes += st.writes.Load()
		total.Deliveries += st.deliveries.Load()
		total.SentBytes += st.sentBytes.Load()
		total.Pings += st.pings.Load()
		total.Pongs += st.pongs.Load()
		total.InboxStalls += st.stalls.Load()
		total.Behind += int(st.behind.Load())
		total.Stalled = max(total.Stalled, l.lag.Stalled(now))
		total.Skipped += st.skipped.Load()
		total.HeldProcess += st.heldProcess.Load()
		total.HeldKernel += st.heldKernel.Load()
		total.TLSKernel += st.tlsKernel.Load()
		total.TLSProcess += st.tlsProcess.Load()
		for r := range st.closed {
			total.Closed[r] += st.closed[r].Load()
		}
		st.latency.SnapshotInto(&snap)
		total.Latency.Merge(&snap)
		l.lag.SnapshotInto(&snap)
		total.Lag.Merge(&snap)
	}
}

// Merge adds another edge's. A topic that is open on both counts twice.
func (s *Stats) Merge(o *Stats) {
	s.Conns += o.Conns
	s.MaxConns += o.MaxConns
	s.Subscriptions += o.Subscriptions
	s.Topics += o.Topics
	s.Patterns += o.Patterns
	s.Matched.Hits += o.Matched.Hits
	s.Matched.Misses += o.Matched.Misses
	s.TLSKernel += o.TLSKernel
	s.TLSProcess += o.TLSProcess
	s.TLS.Merge(&o.TLS)
	s.Accepted += o.Accepted
	s.Adopted += o.Adopted
	s.AcceptedDeflate += o.AcceptedDeflate
	s.Deflated.Events += o.Deflated.Events
	s.Deflated.SavedBytes += o.Deflated.SavedBytes
	s.Writes += o.Writes
	s.Deliveries += o.Deliveries
	s.SentBytes += o.SentBytes
	s.Pings += o.Pings
	s.Pongs += o.Pongs
	s.InboxStalls += o.InboxStalls
	s.Behind += o.Behind
	s.Stalled = max(s.Stalled, o.Stalled)
	s.Skipped += o.Skipped
	s.HeldProcess += o.HeldProcess
	s.HeldKernel += o.HeldKernel
	s.RateOverflows += o.RateOverflows
	for r := range s.Closed {
		s.Closed[r] += o.Closed[r]
	}
	s.Latency.Merge(&o.Latency)
	s.Lag.Merge(&o.Lag)
}

// Past is s without what is held now: what is left of an edge that is gone.
func (s *Stats) Past() Stats {
	past := *s
	past.Conns, past.Subscriptions, past.Topics, past.Patterns, past.Behind = 0, 0, 0, 0, 0
	past.MaxConns, past.Stalled = 0, 0
	past.TLSKernel, past.TLSProcess, past.TLS.Expires = 0, 0, time.Time{}
	past.HeldProcess, past.HeldKernel = 0, 0
	return past
}
