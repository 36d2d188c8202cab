package hub

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"weir/broker"
)

// Worker counts: how many calls to the Source may run at once, and how many may wait. A call
// that finds its queue full fails: a client sees that as 503, one that resumes waits.
const (
	openLanes        = 16
	openQueue        = 4096
	recoverWorkers   = 16
	recoverQueue     = 4096
	firstFreeEntries = 64
)

// Errors of this package, to be tested for with [errors.Is].
var (
	// ErrBusy says that too many topics are being opened or recovered at once.
	ErrBusy = errors.New("too many subscriptions are being opened: try again in a second")
	// ErrClosed says that the hub was closed.
	ErrClosed = errors.New("the edge is closing")
)

// Hub is a node's topics and the shards that have subscribers of them. Its methods may be
// called from any goroutine.
type Hub struct {
	cfg  Config
	src  Source
	seed maphash.Seed

	mu     sync.RWMutex
	topics map[broker.Pattern]*entry
	shards []*Shard

	// patterns are the entries whose names are patterns, recording what is delivered to them while another
	// process is about to take over.
	patterns  broker.Matcher[*entry]
	recording atomic.Pointer[recording]

	deflates deflates

	lanes   [openLanes]chan interest
	posted  atomic.Int64 // changes of interest that are not served yet
	resumes chan resume
	done    chan struct{}
	once    sync.Once
}

// entry is one topic, or pattern, as the node sees it.
type entry struct {
	name    broker.Pattern
	mu      sync.Mutex
	opening bool
	head    broker.Position // of the last event delivered, or where the topic was opened
	shards  []*Shard        // those with interest
	kept    *kept           // between Expect and Settle; of a pattern, also while it is recorded
	// inherited is, of a pattern that came from another process, what it had at most then: no event up to
	// there is delivered.
	inherited *broker.Heads
}

// interest is a change of one shard's interest in a topic.
type interest struct {
	topic broker.Pattern
	shard *Shard
	add   bool
}

// resume is a subscriber's request for what it missed.
type resume struct {
	shard *Shard
	sub   *Sub
	after broker.Position
}

// New returns a Hub over src. Nothing runs before [Hub.Run].
func New(cfg Config, src Source) (*Hub, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure hub: %w", err)
	}
	h := &Hub{
		cfg:     cfg.withDefaults(),
		src:     src,
		seed:    maphash.MakeSeed(),
		topics:  make(map[broker.Pattern]*entry, firstFreeEntries),
		resumes: make(chan resume, recoverQueue),
		done:    make(chan struct{}),
	}
	for i := range h.lanes {
		h.lanes[i] = make(chan interest, openQueue)
	}
	return h, nil
}

// Run serves changes of interest and resumes until ctx ends, then closes the hub: waiting
// calls of Deliver return, and later ones do nothing.
func (h *Hub) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, lane := range h.lanes {
		wg.Go(func() { h.serveLane(ctx, lane) })
	}
	for range recoverWorkers {
		wg.Go(func() { h.serveResumes(ctx) })
	}
	<-ctx.Done()
	h.close()
	wg.Wait()
	return nil
}

func (h *Hub) close() {
	h.once.Do(func() { close(h.done) })
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, s := range h.shards {
		s.release()
	}
}

// Deliver hands on events of live topics, each topic's in order. It copies nothing: the
// events must not change any more. It waits while a loop's inbox is full, and is called by
// one goroutine at a time, as is Reset.
func (h *Hub) Deliver(batch []*broker.Event) {
	for _, ev := range batch {
		m := &Message{Event: ev, deflates: &h.deflates}
		if e := h.entry(broker.Pattern(ev.Topic)); e != nil {
			e.deliver(m)
		}
		if es := h.patterns.Match(ev.Topic); len(es) > 0 {
			h.deliverNext(es, m)
		}
	}
}

// Reset says that continuity of p was lost, a topic or a pattern: delivery goes on after head. What is
// lost of a topic is lost of the patterns that stand for it too; head means nothing to those.
func (h *Hub) Reset(p broker.Pattern, head broker.Position) {
	e := h.entry(p)
	if p.Wild() {
		if e != nil {
			h.resetNext(e)
		}
		return
	}
	t := broker.Topic(p)
	if e != nil {
		e.deliver(&Message{Event: &broker.Event{Topic: t, Position: head}, Reset: true})
	}
	h.resetNext(h.patterns.Match(t)...)
}

func (h *Hub) entry(p broker.Pattern) *entry {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.topics[p]
}

// deliver hands on m at the position of its event.
func (e *entry) deliver(m *Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	// A pattern may bring, later, what is before the head at which the topic opened.
	at := m.Event.Position
	if !m.Reset && at.Epoch == e.head.Epoch && at.Offset <= e.head.Offset {
		return
	}
	// While the topic opens nobody was promised anything yet: only its head moves.
	e.head = at
	e.push(m)
}

// push is for who holds e.mu, and has moved e.head to m.
func (e *entry) push(m *Message) {
	if e.kept != nil {
		e.kept.add(m, e.head)
	}
	for _, s := range e.shards {
		s.push(item{msg: m, topic: e.name, at: e.head.Offset})
	}
}

// Topics is the number of topics open on this node, patterns among them.
func (h *Hub) Topics() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.topics)
}

// NewShard adds a shard. wake is called from any goroutine when the shard has work; it must
// make the owning loop call [Shard.Run] soon, and not block. clock is the time in Unix
// nanoseconds; observe takes the age of an event at its write, in nanoseconds, and the number
// of conns it was written to. observe is called on the loop.
func (h *Hub) NewShard(wake func(), clock func() int64, observe func(ageNanos int64, conns uint64)) *Shard {
	s := &Shard{
		hub:     h,
		wake:    wake,
		clock:   clock,
		observe: observe,
		topics:  make(map[broker.Pattern]*topic),
	}
	s.room.L = &s.inboxMu
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shards = append(h.shards, s)
	return s
}

// post queues a change of interest. Changes of one topic are served in the order posted.
func (h *Hub) post(c interest) error {
	lane := h.lanes[maphash.String(h.seed, string(c.topic))%openLanes]
	select {
	case <-h.done:
		return ErrClosed
	default:
	}
	h.posted.Add(1)
	select {
	case lane <- c:
		return nil
	default:
		h.posted.Add(-1)
		return ErrBusy
	}
}

func (h *Hub) postResume(r resume) error {
	select {
	case h.resumes <- r:
		return nil
	default:
		return ErrBusy
	}
}

func (h *Hub) serveLane(ctx context.Context, lane <-chan interest) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-lane:
			if c.add {
				h.acquire(ctx, c.topic, c.shard)
			} else {
				h.drop(c.topic, c.shard)
			}
			h.posted.Add(-1)
		}
	}
}

// acquire adds a shard to a topic's entry and tells the shard where the topic stands. The
// entry's lock orders that answer before the first event the shard is given.
func (h *Hub) acquire(ctx context.Context, t broker.Pattern, s *Shard) {
	if t.Wild() && h.entry(t) == nil && h.recording.Load().postpone(interest{topic: t, shard: s, add: true}) {
		return
	}
	e, err := h.open(ctx, t, nil)
	if err != nil {
		s.push(item{topic: t, err: err})
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shards = append(e.shards, s)
	it := item{topic: t, head: e.head}
	if e.kept != nil {
		it.head, it.backlog = e.kept.floor, slices.Clone(e.kept.msgs)
	}
	s.push(it)
}

// open makes a topic live on this node, if it is not. What comes from then on is kept in k, if that is
// given and the topic was not open.
func (h *Hub) open(ctx context.Context, t broker.Pattern, k *kept) (*entry, error) {
	h.mu.Lock()
	e, known := h.topics[t]
	if !known {
		e = &entry{name: t, opening: true, kept: k}
		h.topics[t] = e
		if t.Wild() {
			h.openPattern(e)
		}
	}
	h.mu.Unlock()
	if known {
		return e, nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.OpenTimeout)
	defer cancel()
	head, err := h.src.Subscribe(ctx, t)
	if err != nil {
		h.forget(t)
		return nil, fmt.Errorf("subscribe to %s: %w", t, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opening = false
	if e.head.IsZero() {
		e.head = head
	}
	if e.kept != nil && !t.Wild() {
		// What a pattern brought while the topic opened is before the place where it begins.
		*e.kept = kept{floor: e.head}
	}
	return e, nil
}

// drop takes a shard off a topic's entry, and closes the topic if it was the last.
func (h *Hub) drop(t broker.Pattern, s *Shard) {
	e := h.entry(t)
	if e == nil {
		return
	}
	e.mu.Lock()
	e.shards = slices.DeleteFunc(e.shards, func(o *Shard) bool { return o == s })
	last := len(e.shards) == 0
	e.mu.Unlock()
	if last {
		h.forget(t)
		h.src.Unsubscribe(t)
	}
}

func (h *Hub) forget(t broker.Pattern) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.topics, t)
	h.patterns.Remove(t)
}

func (h *Hub) serveResumes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-h.resumes:
			ctx, cancel := context.WithTimeout(ctx, h.cfg.OpenTimeout)
			rec, err := h.src.Recover(ctx, broker.Topic(r.sub.Topic()), r.after, h.cfg.RecoverEvents)
			cancel()
			answer := item{sub: r.sub, recovery: &rec}
			if err != nil {
				answer.recovery = nil
			}
			r.shard.push(answer)
		}
	}
}
