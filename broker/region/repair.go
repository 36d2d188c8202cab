package region

import (
	"context"
	"slices"
	"time"

	"weir/broker"
)

// repair begins to hold a topic's events and queues its repair. n.mu is held.
func (n *Node) repair(st *topic) {
	st.holding = true
	st.round++
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
			st.again = true
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
	at, round := broker.Position{Epoch: st.epoch, Offset: st.last}, st.round
	needed := st.holding && !st.closed
	n.mu.Unlock()
	if !needed {
		return
	}
	rec, err := n.ask(ctx, st, at)
	if err != nil {
		return
	}
	n.sinkMu.Lock()
	defer n.sinkMu.Unlock()
	var out output
	n.mu.Lock()
	if !st.closed && st.holding && st.round == round {
		n.settle(st, rec, &out)
	}
	n.mu.Unlock()
	n.flush(&out)
}

// ask is Source.Replay, tried until the source answers; else the topic was closed, or ctx ended.
// Meanwhile its events are held: what a source that is away has stored is there when it is back.
func (n *Node) ask(ctx context.Context, st *topic, at broker.Position) (broker.Recovery, error) {
	for {
		rec, err := n.source.Replay(ctx, st.name, at, repairEvents)
		if err == nil {
			return rec, nil
		}
		n.counts.retries.Inc()
		now := time.Now().UnixNano()
		if last := n.warned.Load(); now-last > int64(warnPause) && n.warned.CompareAndSwap(last, now) {
			n.log.Warn("a gap waits for the bus to be repaired", "topic", st.name, "err", err)
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
}

// settle ends a repair. n.mu and n.sinkMu are held.
func (n *Node) settle(st *topic, rec broker.Recovery, out *output) {
	held, again := st.held, st.again
	st.held, st.holding, st.again = nil, false, false
	if rec.Recovered {
		n.counts.gaps.WithLabelValues(outcomeRecovered).Inc()
		n.counts.repaired.Add(float64(len(rec.Events)))
		for _, ev := range rec.Events {
			out.event(ev)
		}
		st.last = rec.Head.Offset
	} else {
		n.counts.gaps.WithLabelValues(outcomeHole).Inc()
		st.epoch, st.last = rec.Head.Epoch, rec.Head.Offset
		out.reset(broker.Pattern(st.name), rec.Head)
	}
	// An event held from before the stream was made anew is not to be handed on after its end. Should
	// it be the other way round, the next repair reads it.
	if n := len(held); n > 0 {
		held = slices.DeleteFunc(held, func(ev *broker.Event) bool { return ev.Position.Epoch != st.epoch })
		again = again || len(held) < n
	}
	st.suspect = again
	for i, ev := range held {
		if st.holding { // one of those before is missing something again
			st.held = append(st.held, held[i:]...)
			break
		}
		if ev.Position.Offset <= st.last {
			continue // the repair had it
		}
		n.accept(st, ev, out)
	}
	switch {
	case !again && !rec.More:
	case st.holding: // by an event that was held: its repair is queued, and asks after this
	default:
		n.repair(st)
	}
}
