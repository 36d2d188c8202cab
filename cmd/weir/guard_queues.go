package main

import (
	"context"
	"sync/atomic"
	"time"

	"weir/bpf/xdp"
	"weir/tuning/queues"
)

// quotaQueues says whether the program or the queue before it is the bottleneck.
type quotaQueues struct {
	State string `json:"state"`
	Text  string `json:"text"`
	Note  string `json:"note,omitempty"`
}

// queueInterval is how often the interface's queues are looked at.
const queueInterval = 5 * time.Second

// queueWatch is what was seen of them last.
type queueWatch struct{ found atomic.Pointer[quotaQueues] }

// run looks at the queues from time to time, until ctx ends.
func (w *queueWatch) run(ctx context.Context, prog *xdp.Program) {
	t := time.NewTicker(queueInterval)
	defer t.Stop()
	var before queues.Sample
	var counted xdp.Stats
	for first := true; ; first = false {
		after, err := queues.Read("", prog.Interface(), time.Now())
		stats, statsErr := prog.Stats()
		switch {
		case err != nil || statsErr != nil:
			w.found.Store(nil) // the interface may come back
		case !first:
			found := queues.Verdict(queues.Diff(before, after), countsOf(counted, stats))
			w.found.Store(&quotaQueues{State: string(found.State), Text: found.Text, Note: found.Note})
		}
		before, counted = after, stats
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// countsOf are the packets that the program saw between two readings.
func countsOf(before, after xdp.Stats) (n queues.XDPCounts) {
	for r := range after.Passed {
		dropped := after.Dropped[r].Packets - before.Dropped[r].Packets
		n.Dropped += dropped
		n.Seen += dropped + after.Passed[r].Packets - before.Passed[r].Packets + after.Answered[r].Packets - before.Answered[r].Packets
	}
	return n
}
