package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"weir/broker"

	"github.com/nats-io/nats.go"
)

const (
	// linkEvents bounds the events that wait for a link's reader; what comes then is lost to
	// the link, which shows as a gap, and is read from the stream.
	linkEvents = 1 << 16
	// linkBatch bounds the events handed on at once.
	linkBatch = 256
)

// Link is one receiver's live events. Add, Remove, Head and Replay may be called from any
// goroutine, Run once.
type Link struct {
	bus    *Bus
	client *client
	msgs   chan *nats.Msg
	lost   chan struct{} // one token when the reader fell behind
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	subs map[broker.Topic]*nats.Subscription
}

// sessionBegins is put between the messages of one session and those of the next.
var sessionBegins = &nats.Msg{}

// NewLink opens a link. Close ends it.
func (b *Bus) NewLink() (*Link, error) {
	l := &Link{
		bus:    b,
		msgs:   make(chan *nats.Msg, linkEvents),
		lost:   make(chan struct{}, 1),
		closed: make(chan struct{}),
		subs:   make(map[broker.Topic]*nats.Subscription),
	}
	c, err := b.dial("weir-link", l.begun,
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.noteError(err) }))
	if err != nil {
		return nil, err
	}
	l.client = c
	return l, nil
}

func (l *Link) begun(s *session) {
	if s.number > 1 {
		l.bus.counts.lost.Inc()
		l.bus.counts.reconnects.Inc()
	}
	select {
	case l.msgs <- sessionBegins:
	case <-l.closed:
	}
}

// noteError takes what nats.go reports beside its calls.
func (l *Link) noteError(err error) {
	if !errors.Is(err, nats.ErrSlowConsumer) {
		l.bus.log.Warn("link to the bus", "bus", l.bus.where(), "err", err)
		return
	}
	l.bus.counts.lost.Inc()
	select {
	case l.lost <- struct{}{}:
	default: // one is enough
	}
}

// Add makes a topic live: when it returns, every event stored from then on comes to Run.
func (l *Link) Add(ctx context.Context, t broker.Topic) error {
	ctx, done, err := l.client.call(ctx)
	if err != nil {
		return err
	}
	defer done()
	if _, err := l.client.shardOf(ctx, t); err != nil {
		return err
	}
	sub, err := l.subscribe(t)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w: %w", t, broker.ErrUnavailable, err)
	}
	if err := l.client.nc.FlushWithContext(ctx); err != nil {
		l.remove(t, sub)
		return fmt.Errorf("subscribe to %s: %w: %w", t, broker.ErrUnavailable, err)
	}
	return nil
}

func (l *Link) subscribe(t broker.Topic) (*nats.Subscription, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sub := l.subs[t]; sub != nil {
		return sub, nil
	}
	sub, err := l.client.nc.ChanSubscribe(liveSubject(t), l.msgs)
	if err == nil {
		l.subs[t] = sub
	}
	return sub, err
}

// Remove ends that. Events on their way may still come to Run.
func (l *Link) Remove(t broker.Topic) {
	l.mu.Lock()
	sub := l.subs[t]
	l.mu.Unlock()
	if sub != nil {
		l.remove(t, sub)
	}
}

func (l *Link) remove(t broker.Topic, sub *nats.Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.subs[t] != sub {
		return
	}
	delete(l.subs, t)
	if err := sub.Unsubscribe(); err != nil {
		l.bus.log.Debug("unsubscribe", "topic", t, "err", err)
	}
}

// Run hands on events until ctx ends, from the calling goroutine: events with what has come,
// in order, at most 256 at once; lost when some may be missing. The batch's array is lent,
// the events are not.
//
// With each session lost is called before its first event is handed on. An event whose shard was
// not read by its own session is dropped: it was stored before lost's repair reads its topic.
func (l *Link) Run(ctx context.Context, events func([]*broker.Event), lost func()) error {
	batch := make([]*broker.Event, 0, linkBatch)
	var session uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.lost:
			lost()
		case m := <-l.msgs:
			var next bool
			if batch, next = l.gather(batch[:0], m, session); len(batch) > 0 {
				events(batch)
				clear(batch)
			}
			if next {
				session++
				lost()
			}
		}
	}
}

// gather adds m and what else is there, up to where the next session begins.
func (l *Link) gather(batch []*broker.Event, m *nats.Msg, session uint64) (_ []*broker.Event, next bool) {
	for {
		if m == sessionBegins {
			return batch, true
		}
		if ev := l.decode(m, session); ev != nil {
			batch = append(batch, ev)
		}
		if len(batch) == linkBatch {
			return batch, false
		}
		select {
		case m = <-l.msgs:
		default:
			return batch, false
		}
	}
}

// Close ends the link. Idempotent.
func (l *Link) Close() {
	l.once.Do(func() { close(l.closed) }) // a session that begins waits no more
	l.client.close()
}

// decode makes an event of a live message of a session; nil if it is none.
func (l *Link) decode(m *nats.Msg, session uint64) *broker.Event {
	n, t, ok := topicOf(m.Subject, livePrefix)
	if !ok {
		return nil
	}
	st := l.client.known(n, session)
	if st == nil {
		return nil
	}
	ev := newEvent(t, st.epoch, m)
	if ev != nil {
		ev.Prev = headerNumber(m.Header, "Nats-Last-Sequence")
	}
	return ev
}

// newEvent makes an event of a stored or republished message; nil if it is neither. Prev is left.
func newEvent(t broker.Topic, epoch broker.Epoch, m *nats.Msg) *broker.Event {
	offset := headerNumber(m.Header, "Nats-Sequence")
	if offset == 0 {
		return nil
	}
	return &broker.Event{
		Topic:       t,
		Position:    broker.Position{Epoch: epoch, Offset: offset},
		OriginNanos: int64(headerNumber(m.Header, headerOrigin)), //nolint:gosec // as it was written
		Key:         m.Header.Get(headerKey),
		Data:        m.Data,
	}
}

func headerNumber(h nats.Header, name string) uint64 {
	v, err := strconv.ParseUint(h.Get(name), 10, 64)
	if err != nil {
		return 0
	}
	return v
}
