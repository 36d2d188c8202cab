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
	// callTimeout bounds one call to the server, whatever its caller allows.
	callTimeout = 5 * time.Second
)

// Link is one receiver's live events. Add, Remove, Head and Replay may be called from any
// goroutine, Run once.
type Link struct {
	bus  *Bus
	nc   *nats.Conn
	msgs chan *nats.Msg
	lost chan struct{} // one token when events may have been lost

	interest interest
	// tick is how often the interest is looked at, retireAfter how long what another subscription
	// took the place of is kept.
	tick, retireAfter time.Duration
}

// NewLink opens a link. Close ends it.
func (b *Bus) NewLink() (*Link, error) {
	l := &Link{
		bus:         b,
		msgs:        make(chan *nats.Msg, linkEvents),
		lost:        make(chan struct{}, 1),
		tick:        interestTick,
		retireAfter: retireAfter,
	}
	l.interest.init(l)
	nc, err := b.connect("weir-link",
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrSlowConsumer) {
				l.noteLoss()
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { l.noteLoss() }),
	)
	if err != nil {
		return nil, err
	}
	l.nc = nc
	return l, nil
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
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if !p.Wild() {
		if _, err := l.bus.shardOf(ctx, broker.Topic(p)); err != nil {
			return err
		}
	}
	return l.interest.add(ctx, p)
}

// Remove ends that. Events on their way may still come to Run.
func (l *Link) Remove(p broker.Pattern) { l.interest.remove(p) }

// Run hands on events until ctx ends, from the calling goroutine, and has another one look after the
// interest meanwhile: events with what has come,
// in order, at most 256 at once; lost when some may be missing. The batch's array is lent,
// the events are not.
func (l *Link) Run(ctx context.Context, events func([]*broker.Event), lost func()) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { l.runInterest(ctx) })
	defer func() {
		cancel()
		wg.Wait()
	}()
	batch := make([]*broker.Event, 0, linkBatch)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.lost:
			lost()
		case m := <-l.msgs:
			if batch = l.gather(batch[:0], m); len(batch) > 0 {
				events(batch)
			}
			clear(batch)
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

// gather adds m and what else is there, of what is wanted.
func (l *Link) gather(batch []*broker.Event, m *nats.Msg) []*broker.Event {
	for {
		if !l.interest.wants(m.Subject) {
			l.bus.counts.unwanted.Add(1)
		} else if ev := l.bus.decode(m.Subject, livePrefix, m.Header, m.Data); ev != nil {
			batch = append(batch, ev)
		}
		if len(batch) == linkBatch {
			return batch
		}
		select {
		case m = <-l.msgs:
		default:
			return batch
		}
	}
}

// Close ends the link. Idempotent.
func (l *Link) Close() {
	l.nc.Close()
	l.interest.close()
}

// decode makes an event of a stored or republished message; nil if it is neither.
func (b *Bus) decode(subject, prefix string, h nats.Header, data []byte) *broker.Event {
	shard, t, ok := topicOf(subject, prefix)
	if !ok {
		return nil
	}
	offset := headerNumber(h, "Nats-Sequence")
	if offset == 0 {
		return nil
	}
	return &broker.Event{
		Topic:       t,
		Position:    broker.Position{Epoch: b.epochOf(shard), Offset: offset},
		Prev:        headerNumber(h, "Nats-Last-Sequence"),
		OriginNanos: int64(headerNumber(h, headerOrigin)), //nolint:gosec // as it was written
		Key:         h.Get(headerKey),
		Data:        data,
	}
}

func headerNumber(h nats.Header, name string) uint64 {
	v, err := strconv.ParseUint(h.Get(name), 10, 64)
	if err != nil {
		return 0
	}
	return v
}
