package region

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"weir/broker"
)

// patterns are those that are subscribed to, and the topics known through them alone: a topic first
// seen starts where its shard was when the pattern opened, so that its first event says by its
// predecessor whether one before it is missing. All is guarded by Node.mu.
type patterns struct {
	byName  map[broker.Pattern]*pattern
	matcher broker.Matcher[*pattern] // of those that are open
	// generation changes with the matcher: what is known of a topic is then held to the patterns that
	// stand for it now.
	generation uint64
	// seen are the topics known through patterns alone, those quiet the longest first.
	seen list.List
	// forgotten is, in each shard, the furthest that one of them was when it was forgotten.
	forgotten broker.Heads
}

// pattern is one that is subscribed to.
type pattern struct {
	// heads are where the shards were when it opened.
	heads *broker.Heads
}

// headsReader reads where all shards are, which takes a while, once for all patterns that open
// meanwhile.
type headsReader struct {
	turn chan struct{} // has room while they are not read

	mu   sync.Mutex
	next *headsCall // has not begun
}

type headsCall struct {
	done  chan struct{}
	heads *broker.Heads
	err   error
}

// read is what a call of get gave that began after this one.
func (r *headsReader) read(ctx context.Context, get func(context.Context) (*broker.Heads, error)) (*broker.Heads, error) {
	r.mu.Lock()
	c := r.next
	first := c == nil
	if first {
		c = &headsCall{done: make(chan struct{})}
		r.next = c
	}
	r.mu.Unlock()
	if first {
		c.run(ctx, r, get)
	}
	select {
	case <-c.done:
		return c.heads, c.err
	case <-ctx.Done():
		return nil, headsError(ctx.Err())
	}
}

// run is the call, in its turn.
func (c *headsCall) run(ctx context.Context, r *headsReader, get func(context.Context) (*broker.Heads, error)) {
	defer close(c.done)
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		c.err = headsError(ctx.Err())
	}
	r.mu.Lock()
	r.next = nil // who comes from here on may have subscribed after they were read
	r.mu.Unlock()
	if c.err == nil {
		c.heads, c.err = get(ctx)
	}
}

func headsError(err error) error {
	return fmt.Errorf("read heads of shards: %w: %w", broker.ErrUnavailable, err)
}

// subscribePattern is Subscribe for a pattern. What comes before it returns nobody was promised.
func (n *Node) subscribePattern(ctx context.Context, p broker.Pattern) error {
	pt := &pattern{}
	n.mu.Lock()
	known := n.patterns.byName[p] != nil
	if !known {
		n.patterns.byName[p] = pt
	}
	n.mu.Unlock()
	if known {
		return errTwice(p)
	}
	err := n.source.Add(ctx, p)
	var heads *broker.Heads
	if err == nil {
		heads, err = n.heads.read(ctx, n.source.Heads)
	}
	if err != nil {
		n.Unsubscribe(p)
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	pt.heads = heads
	n.patterns.matcher.Add(p, pt)
	n.patterns.generation++
	return nil
}

func (ps *patterns) remove(p broker.Pattern) {
	delete(ps.byName, p)
	ps.matcher.Remove(p)
	ps.generation++
}

// start is where a topic begins of which nothing is known: covered is false if no pattern stands for
// it. An epoch of 0 is whatever the topic's first event has.
func (ps *patterns) start(t broker.Topic) (start broker.Position, covered bool) {
	shard := -1
	for _, pt := range ps.matcher.Match(t) {
		if shard < 0 {
			shard = t.Shard()
			start = pt.heads[shard]
			continue
		}
		if head := pt.heads[shard]; head.Epoch != start.Epoch {
			start = broker.Position{} // its stream was made, or made anew, between the two
		} else if head.Offset < start.Offset {
			start = head
		}
	}
	if shard < 0 {
		return start, false
	}
	if f := ps.forgotten[shard]; f.Epoch == start.Epoch || start.Epoch == 0 {
		start = broker.Position{Epoch: f.Epoch, Offset: max(start.Offset, f.Offset)}
	}
	return start, true
}

// list adds st to those known through patterns alone.
func (ps *patterns) list(st *topic) {
	st.generation = ps.generation
	st.listed = ps.seen.PushBack(st)
}

func (ps *patterns) unlist(st *topic) {
	if st.listed != nil {
		ps.seen.Remove(st.listed)
		st.listed = nil
	}
}

// state is what is known of t, which begins now if a pattern stands for it; nil if t is not live.
// n.mu is held.
func (n *Node) state(t broker.Topic) *topic {
	st := n.topics[t]
	if st != nil && st.own {
		return st
	}
	ps := &n.patterns
	if st != nil && (st.holding || st.generation == ps.generation) {
		ps.seen.MoveToBack(st.listed)
		return st
	}
	start, covered := ps.start(t)
	if st == nil && !covered {
		return nil
	}
	switch {
	case st == nil:
		st = &topic{name: t, epoch: start.Epoch, last: start.Offset}
		n.topics[t] = st
		ps.list(st)
	case !covered:
		n.remove(st)
		return nil
	case st.epoch == start.Epoch:
		// What came between the end of the pattern it is known by, and the start of those that stand
		// for it now, was nobody's.
		st.last = max(st.last, start.Offset)
	}
	st.generation = ps.generation
	ps.seen.MoveToBack(st.listed)
	return st
}

// adopt has a topic that was opening begin where the patterns do that stand for it: what it holds was
// promised to their subscribers. It reports whether there are any. n.mu is held.
func (n *Node) adopt(st *topic, epoch broker.Epoch) bool {
	start, covered := n.patterns.start(st.name)
	if !covered {
		return false
	}
	switch {
	case start.Epoch != 0:
		epoch = start.Epoch
	case epoch == 0 && len(st.held) > 0:
		epoch = st.held[0].Position.Epoch
	}
	st.epoch, st.last, st.opening = epoch, start.Offset, false
	if epoch == 0 {
		st.holding = false
	} else {
		n.repair(st)
	}
	return true
}

// forget keeps the topics known through patterns alone to their bound. One that comes again begins at
// the furthest of those forgotten in its shard: what it missed until there unnoticed, without the
// source's knowing of a loss, stays so. n.mu is held.
func (n *Node) forget(out *output) {
	for n.patterns.seen.Len() > maxSeen {
		st := n.patterns.seen.Front().Value.(*topic) //nolint:forcetypeassert // list alone adds
		last := broker.Position{Epoch: st.epoch, Offset: st.last}
		if st.holding { // its repair ends unheard
			if i := len(st.held) - 1; i >= 0 {
				last = st.held[i].Position
			}
			out.reset(broker.Pattern(st.name), last)
		}
		if f := &n.patterns.forgotten[st.name.Shard()]; f.Epoch != last.Epoch || f.Offset < last.Offset {
			*f = last
		}
		n.remove(st)
		n.counts.forgotten.Inc()
	}
}
