package region

import (
	"context"
	"errors"
	"time"

	"weir/broker"
)

// repair begins to hold a topic's events and queues its repair. n.mu is held.
func (n *Node) repair(st *topic) {
	st.holding = true
	select {
	case n.repairs <- st:
	default:
		// More topics than the queue holds are broken at once: the sweep finds this one.
		select {
		case n.overflow <- struct{}{}:
		default:
		}
	}
}

// lost is called by the source when events may be missing: of any topic, also the last one. Which
// topics a pattern has is not known, so its subscribers are told; of those seen the next event will
// show whether one is to be repaired.
func (n *Node) lost() {
	n.sinkMu.Lock()
	defer n.sinkMu.Unlock()
	var out output
	n.mu.Lock()
	for _, st := range n.topics {
		st.suspect = true
		if st.holding {
			st.dropped = true // the repair may have read the stream before what was lost was stored
		} else if st.own {
			n.repair(st)
		}
	}
	for p, pt := range n.patterns.byName {
		if pt.heads != nil {
			out.reset(p, broker.Position{})
		}
	}
	n.mu.Unlock()
	n.flush(&out)
}

func (n *Node) serveRepairs(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case st := <-n.repairs:
			n.mend(ctx, st)
		case <-n.overflow:
			n.requeue(ctx)
		}
	}
}

// requeue mends every topic that is held, queued or not: to mend a whole one is harmless.
func (n *Node) requeue(ctx context.Context) {
	n.mu.Lock()
	var broken []*topic
	for _, st := range n.topics {
		if st.holding && !st.opening {
			broken = append(broken, st)
		}
	}
	n.mu.Unlock()
	for _, st := range broken {
		n.mend(ctx, st)
	}
}

// mend reads what a topic misses and hands it on, then what was held meanwhile.
func (n *Node) mend(ctx context.Context, st *topic) {
	n.mu.Lock()
	at := broker.Position{Epoch: st.epoch, Offset: st.last}
	needed := st.holding && !st.closed
	n.mu.Unlock()
	if !needed {
		return
	}
	rec, err := n.ask(ctx, st, at)
	if errors.Is(err, errClosed) || ctx.Err() != nil {
		return
	}
	n.sinkMu.Lock()
	defer n.sinkMu.Unlock()
	var out output
	n.mu.Lock()
	if !st.closed && st.holding && st.last == at.Offset && st.epoch == at.Epoch {
		n.settle(st, rec, err, &out)
	}
	n.mu.Unlock()
	n.flush(&out)
}

// ask is Source.Replay, tried again for a while if it fails.
func (n *Node) ask(ctx context.Context, st *topic, at broker.Position) (rec broker.Recovery, err error) {
	for range repairTries {
		if rec, err = n.source.Replay(ctx, st.name, at, repairEvents); err == nil {
			return rec, nil
		}
		select {
		case <-ctx.Done():
			return rec, ctx.Err()
		case <-time.After(repairPause):
		}
		n.mu.Lock()
		closed := st.closed
		n.mu.Unlock()
		if closed {
			return rec, errClosed
		}
	}
	n.log.Warn("gap not repaired", "topic", st.name, "err", err)
	return rec, err
}

// settle ends a repair. n.mu and n.sinkMu are held.
func (n *Node) settle(st *topic, rec broker.Recovery, err error, out *output) {
	held, dropped := st.held, st.dropped
	st.held, st.holding, st.dropped = nil, false, false
	switch {
	case err == nil && rec.Recovered:
		n.counts.gaps.WithLabelValues(outcomeRecovered).Inc()
		n.counts.repaired.Add(float64(len(rec.Events)))
		for _, ev := range rec.Events {
			out.event(ev)
		}
		st.last = rec.Head.Offset
	case err == nil:
		n.counts.gaps.WithLabelValues(outcomeHole).Inc()
		st.epoch, st.last = rec.Head.Epoch, rec.Head.Offset
		out.reset(broker.Pattern(st.name), rec.Head)
	case len(held) > 0:
		// The stream does not answer: go on with what came, and say so.
		n.counts.gaps.WithLabelValues(outcomeFailed).Inc()
		st.epoch, st.last = held[0].Position.Epoch, held[0].Position.Offset-1
		out.reset(broker.Pattern(st.name), broker.Position{Epoch: st.epoch, Offset: st.last})
	default:
		// Nothing came and nothing is known to be missing: the next event will tell.
		n.counts.gaps.WithLabelValues(outcomeFailed).Inc()
		return
	}
	st.suspect = dropped
	for i, ev := range held {
		if st.holding { // one of those before is missing something again
			st.held = append(st.held, held[i:]...)
			break
		}
		if ev.Position.Epoch == st.epoch && ev.Position.Offset <= st.last {
			continue // the repair had it
		}
		n.accept(st, ev, out)
	}
	if (dropped || err == nil && rec.More) && !st.holding {
		n.repair(st)
	}
}
