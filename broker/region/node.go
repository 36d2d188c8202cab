package region

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"weir/broker"
)

// Limits of a node.
const (
	// maxHeld bounds the events of one topic held during its repair. What comes then is
	// dropped and read from the stream afterwards.
	maxHeld = 4096
	// repairEvents bounds the events of one repair; past it the topic is reset.
	repairEvents = 1 << 16
	// repairWorkers and recoverSlots bound the calls of Source.Replay at once, recoverQueue
	// those that wait.
	repairWorkers = 8
	recoverSlots  = 16
	recoverQueue  = 4096
	// repairPause is how long a repair waits before it asks a source that failed again, warnPause
	// how often at most that is logged.
	repairPause = 200 * time.Millisecond
	warnPause   = 10 * time.Second
)

// Source is what a node needs of the bus. broker/bus's Link is one.
type Source interface {
	// Run hands on live events, and calls lost when some may be missing, until ctx ends; one
	// call at a time. What is missing can be read by Replay from then on. The batch's array is
	// lent, its events are not.
	Run(ctx context.Context, events func([]*broker.Event), lost func()) error
	// Add makes a topic live: every event stored after it returns comes to Run.
	Add(ctx context.Context, t broker.Topic) error
	// Remove ends that.
	Remove(t broker.Topic)
	// Head is a position of t after which everything is new.
	Head(ctx context.Context, t broker.Topic) (broker.Position, error)
	// Replay gives the events after a position, exactly, at most limit of them and More if there
	// are others, or Recovered=false.
	Replay(ctx context.Context, t broker.Topic, after broker.Position, limit int) (broker.Recovery, error)
}

// Sink takes what a node hands on, one call at a time, each topic's events in order.
type Sink interface {
	// Deliver takes events. The batch's array is lent, the events are not.
	Deliver(batch []*broker.Event)
	// Reset says that events of t may be missing: it goes on after head.
	Reset(t broker.Topic, head broker.Position)
}

// Node is one node's broker. Its methods may be called from any goroutine.
type Node struct {
	source Source
	log    *slog.Logger
	counts counts

	sinkMu sync.Mutex
	sink   Sink

	mu     sync.Mutex
	topics map[broker.Topic]*topic

	warned atomic.Int64 // when a repair was last said to wait, nanoseconds of Unix time

	repairs  chan *topic
	overflow chan struct{} // a token when a repair found no room in repairs
	slots    chan struct{}
	waiting  chan struct{}
}

// topic is what the node knows of a topic it subscribed to.
type topic struct {
	name  broker.Topic
	epoch broker.Epoch
	last  uint64 // offset of the newest event handed on, or the head it began at
	// holding is set while the topic opens or is repaired: its events wait in held.
	holding bool
	held    []*broker.Event
	// again is set if events may have been lost while it was: they had no room in held, or the
	// source says so. What is being read may not have them: a repair must follow.
	again bool
	round uint64 // of repairs
	// suspect is set when events may have been lost since the last one: an event without a
	// predecessor is then no proof of continuity.
	suspect bool
	closed  bool
}

// New returns a Node over source. Nothing runs before [Node.Run].
func New(source Source, log *slog.Logger) *Node {
	n := &Node{
		source:   source,
		log:      log,
		topics:   make(map[broker.Topic]*topic),
		repairs:  make(chan *topic, 1<<16),
		overflow: make(chan struct{}, 1),
		slots:    make(chan struct{}, recoverSlots),
		waiting:  make(chan struct{}, recoverQueue),
	}
	n.counts.init()
	return n
}

// Run hands on events to sink until ctx ends.
func (n *Node) Run(ctx context.Context, sink Sink) error {
	n.sinkMu.Lock()
	n.sink = sink
	n.sinkMu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for range repairWorkers {
		wg.Go(func() { n.serveRepairs(ctx) })
	}
	err := n.source.Run(ctx, n.take, n.lost)
	cancel()
	wg.Wait()
	return err
}

// Subscribe makes t live: every event stored after it returns is handed to the sink. Events
// up to the position it returns are not.
func (n *Node) Subscribe(ctx context.Context, t broker.Topic) (broker.Position, error) {
	st := &topic{name: t, holding: true}
	n.mu.Lock()
	if n.topics[t] != nil {
		n.mu.Unlock()
		return broker.Position{}, fmt.Errorf("subscribe to %s: it is subscribed already", t)
	}
	n.topics[t] = st
	n.mu.Unlock()

	head, err := n.open(ctx, t)
	if err != nil {
		n.Unsubscribe(t)
		return broker.Position{}, err
	}
	// What came while it opened was stored before this returns: handed on or not, nobody was
	// promised it. It only moves the place where the topic begins.
	n.mu.Lock()
	defer n.mu.Unlock()
	st.epoch, st.last = head.Epoch, head.Offset
	for _, ev := range st.held {
		if ev.Position.Epoch == st.epoch {
			st.last = max(st.last, ev.Position.Offset)
		}
	}
	again := st.again
	st.held, st.holding, st.again = nil, false, false
	if again { // the source lost something after head was read
		st.suspect = true
		n.repair(st)
	}
	return broker.Position{Epoch: st.epoch, Offset: st.last}, nil
}

func (n *Node) open(ctx context.Context, t broker.Topic) (broker.Position, error) {
	if err := n.source.Add(ctx, t); err != nil {
		return broker.Position{}, err
	}
	return n.source.Head(ctx, t)
}

// Unsubscribe ends the subscription of t.
func (n *Node) Unsubscribe(t broker.Topic) {
	n.mu.Lock()
	if st := n.topics[t]; st != nil {
		st.closed = true
		delete(n.topics, t)
	}
	n.mu.Unlock()
	n.source.Remove(t)
}

// Recover gives what a subscriber of t missed since a position. It waits for its turn; with
// too many waiting it fails with broker.ErrUnavailable.
func (n *Node) Recover(ctx context.Context, t broker.Topic, after broker.Position, limit int) (broker.Recovery, error) {
	select {
	case n.waiting <- struct{}{}:
		defer func() { <-n.waiting }()
	default:
		n.counts.recoveries.WithLabelValues(outcomeRefused).Inc()
		return broker.Recovery{}, fmt.Errorf("recover %s: %d are waiting already: %w", t, recoverQueue, broker.ErrUnavailable)
	}
	select {
	case n.slots <- struct{}{}:
		defer func() { <-n.slots }()
	case <-ctx.Done():
		n.counts.recoveries.WithLabelValues(outcomeRefused).Inc()
		return broker.Recovery{}, fmt.Errorf("recover %s: %w: %w", t, broker.ErrUnavailable, ctx.Err())
	}
	rec, err := n.source.Replay(ctx, t, after, limit)
	switch {
	case err != nil:
		n.counts.recoveries.WithLabelValues(outcomeFailed).Inc()
	case rec.Recovered:
		n.counts.recoveries.WithLabelValues(outcomeRecovered).Inc()
	default:
		n.counts.recoveries.WithLabelValues(outcomeHole).Inc()
	}
	return rec, err
}

// take is called by the source with live events.
func (n *Node) take(batch []*broker.Event) {
	n.sinkMu.Lock()
	defer n.sinkMu.Unlock()
	var out output
	n.mu.Lock()
	for _, ev := range batch {
		if st := n.topics[ev.Topic]; st != nil {
			n.accept(st, ev, &out)
		}
	}
	n.mu.Unlock()
	n.flush(&out)
}

// accept decides about one event of a topic. n.mu is held.
func (n *Node) accept(st *topic, ev *broker.Event, out *output) {
	switch p := ev.Position; {
	case st.holding:
		if len(st.held) == maxHeld {
			st.again = true
			return
		}
		st.held = append(st.held, ev)
	case p.Epoch != st.epoch:
		// The stream was made anew: what the old one still had is not to be known.
		n.counts.gaps.WithLabelValues(outcomeHole).Inc()
		st.epoch, st.last, st.suspect = p.Epoch, p.Offset, false
		out.reset(st.name, broker.Position{Epoch: p.Epoch, Offset: p.Offset - 1})
		out.event(ev)
	case p.Offset <= st.last:
		n.counts.duplicates.Inc()
	case ev.Prev <= st.last && (ev.Prev != 0 || !st.suspect):
		st.last, st.suspect = p.Offset, false
		out.event(ev)
	default:
		st.held = append(st.held, ev)
		n.repair(st)
	}
}

// output is what one step hands to the sink, in order.
type output struct {
	steps []step
}

type step struct {
	events []*broker.Event
	topic  broker.Topic // else: reset this one
	head   broker.Position
}

func (o *output) event(ev *broker.Event) {
	if i := len(o.steps) - 1; i >= 0 && o.steps[i].events != nil {
		o.steps[i].events = append(o.steps[i].events, ev)
		return
	}
	o.steps = append(o.steps, step{events: []*broker.Event{ev}})
}

func (o *output) reset(t broker.Topic, head broker.Position) {
	o.steps = append(o.steps, step{topic: t, head: head})
}

// flush hands out to the sink. n.sinkMu is held, n.mu is not.
func (n *Node) flush(out *output) {
	for _, s := range out.steps {
		if s.events == nil {
			n.sink.Reset(s.topic, s.head)
			continue
		}
		n.counts.events.Add(float64(len(s.events)))
		n.sink.Deliver(s.events)
	}
}

var errClosed = errors.New("the topic was closed")
