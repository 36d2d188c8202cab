package bus

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

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
	marks  marks

	interest interest
	// tick is how often the interest is looked at, retireAfter how long what another subscription
	// took the place of is kept.
	tick, retireAfter time.Duration
}

// sessionBegins is put between the messages of one session and those of the next. It and a mark of
// [Link.Settle] have no subject.
var sessionBegins = &nats.Msg{}

// NewLink opens a link. Close ends it.
func (b *Bus) NewLink() (*Link, error) {
	l := &Link{
		bus:         b,
		msgs:        make(chan *nats.Msg, linkEvents),
		lost:        make(chan struct{}, 1),
		closed:      make(chan struct{}),
		tick:        interestTick,
		retireAfter: retireAfter,
	}
	l.interest.init(l)
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
	l.noteLoss()
}

func (l *Link) noteLoss() {
	l.bus.counts.lost.Inc()
	select {
	case l.lost <- struct{}{}:
	default: // one is enough
	}
}

// report notes a change of subscriptions that may have lost something; nil is none.
func (l *Link) report(err error) {
	if err != nil {
		l.bus.log.Warn("interest not changed without a gap", "err", err)
		l.noteLoss()
	}
}

// Add makes a topic live, or all that a pattern stands for: when it returns, every event stored from
// then on comes to Run. One that more than one of those added have may come more than once.
func (l *Link) Add(ctx context.Context, p broker.Pattern) error {
	ctx, done, err := l.client.call(ctx)
	if err != nil {
		return err
	}
	defer done()
	if !p.Wild() {
		if _, err := l.client.shardOf(ctx, broker.Topic(p)); err != nil {
			return err
		}
	}
	return l.interest.add(ctx, p)
}

// Remove ends that. Events on their way may still come to Run.
func (l *Link) Remove(p broker.Pattern) { l.interest.remove(p) }

// Run hands on events until ctx ends, from the calling goroutine, and has another one look after the
// interest meanwhile: events with what has come, in order, at most 256 at once; lost when some may be
// missing. The batch's array is lent, the events are not.
//
// With each session but the first lost is called before its first event is handed on. An event of a topic whose shard
// was not read by its own session is dropped: it was stored before lost's repair reads its topic. For one
// that a pattern stands for the shard is read.
func (l *Link) Run(ctx context.Context, events func([]*broker.Event), lost func()) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { l.runInterest(ctx) })
	defer func() {
		cancel()
		wg.Wait()
	}()
	batch := make([]*broker.Event, 0, linkBatch)
	var session uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.lost:
			lost()
		case m := <-l.msgs:
			var mark *nats.Msg
			if batch, mark = l.gather(batch[:0], m, session); len(batch) > 0 {
				events(batch)
				clear(batch)
			}
			switch mark {
			case nil:
			case sessionBegins:
				if session++; session > 1 {
					lost()
				}
			default:
				l.marks.pass(mark)
			}
		}
	}
}

func (l *Link) runInterest(ctx context.Context) {
	t := time.NewTicker(l.tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			l.interest.tick(ctx)
		}
	}
}

// gather adds m and what else is there and wanted, up to the next mark, if there is one.
func (l *Link) gather(batch []*broker.Event, m *nats.Msg, session uint64) (_ []*broker.Event, mark *nats.Msg) {
	for {
		if m.Subject == "" {
			return batch, m
		}
		if !l.interest.wants(m.Subject) {
			l.bus.counts.unwanted.Add(1)
		} else if ev := l.decode(m, session); ev != nil {
			batch = append(batch, ev)
		}
		if len(batch) == linkBatch {
			return batch, nil
		}
		select {
		case m = <-l.msgs:
		default:
			return batch, nil
		}
	}
}

// Close ends the link. Idempotent.
func (l *Link) Close() {
	l.once.Do(func() { close(l.closed) }) // a session that begins waits no more
	l.client.close()
	l.interest.close()
}

// decode makes an event of a live message of a session; nil if it is none.
func (l *Link) decode(m *nats.Msg, session uint64) *broker.Event {
	n, t, ok := topicOf(m.Subject, livePrefix)
	if !ok {
		return nil
	}
	st := l.client.known(n, session)
	if st == nil && l.interest.covered(t) {
		st = l.discover(n, t, session)
	}
	if st == nil {
		return nil
	}
	ev := newEvent(t, st.epoch, m)
	if ev != nil {
		ev.Prev = headerNumber(m.Header, "Nats-Last-Sequence")
	}
	return ev
}

// discover reads a shard that came to be known by an event of a pattern. If that fails, events of its
// topics are missing; nil too if the session is over, whose end says so.
func (l *Link) discover(n int, t broker.Topic, session uint64) *shardState {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	st, err := l.client.shardOf(ctx, t)
	switch {
	case err != nil:
		l.bus.log.Warn("shard not read", "shard", n, "err", err)
		l.noteLoss()
		return nil
	case st.session != session:
		return nil
	}
	return st
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
