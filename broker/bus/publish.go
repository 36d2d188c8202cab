package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"weir/broker"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// headerOrigin carries when the publisher's weir took the event, nanoseconds of Unix time.
const headerOrigin = "Weir-Origin"

// headerKey carries an event's key, as its publisher named it.
const headerKey = "Weir-Key"

// MaxKeyBytes bounds an event's key.
const MaxKeyBytes = 256

// PublishOptions go with one event.
type PublishOptions struct {
	// IdempotencyKey makes a second publish with the same key, within two minutes, a repeat
	// of the first: it is not stored again. Empty: none.
	IdempotencyKey string
	// Key is the event's, at most MaxKeyBytes of printable ASCII. Empty: none.
	Key string
	// OriginNanos is when the event entered weir, nanoseconds of Unix time; 0 for now.
	OriginNanos int64
}

// Publish stores an event and returns its position, once the stream has acknowledged it. data
// is not kept. The error wraps broker.ErrTooLarge or broker.ErrUnavailable.
func (b *Bus) Publish(ctx context.Context, t broker.Topic, data []byte, opts PublishOptions) (broker.Position, error) {
	start := time.Now()
	st, future, err := b.send(ctx, t, data, opts)
	if err != nil {
		b.counts.failed(err)
		return broker.Position{}, err
	}
	select {
	case ack := <-future.Ok():
		b.counts.stored.Add(1)
		b.counts.seconds.Observe(time.Since(start).Seconds())
		if now := b.client.session.Load(); now.number != st.session {
			// It was stored after the connection was made anew: perhaps in another stream.
			if st, err = b.client.shardOf(ctx, t); err != nil {
				return broker.Position{}, fmt.Errorf("publish to %s: it is stored, at a place not known: %w", t, err)
			}
		}
		return broker.Position{Epoch: st.epoch, Offset: ack.Sequence}, nil
	case err := <-future.Err():
		err = publishError(t, err)
		b.counts.failed(err)
		return broker.Position{}, err
	case <-ctx.Done():
		err := fmt.Errorf("publish to %s: not acknowledged, it may be stored all the same: %w: %w", t, broker.ErrUnavailable, ctx.Err())
		b.counts.failed(err)
		return broker.Position{}, err
	}
}

// send hands an event to the stream; its answer comes through the future.
func (b *Bus) send(ctx context.Context, t broker.Topic, data []byte, opts PublishOptions) (*shardState, jetstream.PubAckFuture, error) {
	if len(data) > b.cfg.MaxEventBytes {
		return nil, nil, fmt.Errorf("publish to %s: %w: %d bytes, bus.max_event is %d", t, broker.ErrTooLarge, len(data), b.cfg.MaxEventBytes)
	}
	if !validKey(opts.Key) {
		return nil, nil, fmt.Errorf("publish to %s: %w: %q: at most %d bytes of printable ASCII", t, broker.ErrBadKey, opts.Key, MaxKeyBytes)
	}
	st, err := b.client.shardOf(ctx, t)
	if err != nil {
		return nil, nil, fmt.Errorf("publish to %s: %w", t, err)
	}
	if opts.OriginNanos == 0 {
		opts.OriginNanos = time.Now().UnixNano()
	}
	msg := &nats.Msg{
		Subject: storeSubject(t),
		Data:    data,
		Header:  nats.Header{headerOrigin: []string{strconv.FormatInt(opts.OriginNanos, 10)}},
	}
	if opts.Key != "" {
		msg.Header.Set(headerKey, opts.Key)
	}
	if opts.IdempotencyKey != "" {
		msg.Header.Set(nats.MsgIdHdr, opts.IdempotencyKey)
	}
	future, err := b.client.js.PublishMsgAsync(msg)
	if err != nil {
		return nil, nil, publishError(t, err)
	}
	return st, future, nil
}

// publishError says why the stream, or the way to it, did not take an event.
func publishError(t broker.Topic, err error) error {
	const streamSaysTooLarge = 10054 // of the server's API; nats.go has no name for it
	api, ok := errors.AsType[*jetstream.APIError](err)
	if errors.Is(err, nats.ErrMaxPayload) || ok && api.ErrorCode == streamSaysTooLarge {
		return fmt.Errorf("publish to %s: %w: the broker's bus.max_event is less than ours: %w", t, broker.ErrTooLarge, err)
	}
	return fmt.Errorf("publish to %s: %w: %w", t, broker.ErrUnavailable, err)
}

// validKey reports whether a key can stand in a header as it is.
func validKey(key string) bool {
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return false
		}
	}
	return len(key) <= MaxKeyBytes && strings.TrimSpace(key) == key
}
