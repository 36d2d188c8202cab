package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
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
		return broker.Position{Epoch: st.epoch, Offset: ack.Sequence}, nil
	case err := <-future.Err():
		err = fmt.Errorf("publish to %s: %w: %w", t, broker.ErrUnavailable, err)
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
	st, err := b.shardOf(ctx, t)
	if err != nil {
		return nil, nil, err
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
	future, err := b.js.PublishMsgAsync(msg)
	if err != nil {
		return nil, nil, fmt.Errorf("publish to %s: %w: %w", t, broker.ErrUnavailable, err)
	}
	return st, future, nil
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

// ingest publishes what NATS clients send to weir.publish.<topic>, and answers them in order.
type ingest struct {
	bus     *Bus
	sub     *nats.Subscription
	answers chan answer
	wg      sync.WaitGroup
}

// answer is a publish on its way, and who waits for it.
type answer struct {
	msg    *nats.Msg
	shard  *shardState
	future jetstream.PubAckFuture
	err    error
}

func (b *Bus) startIngest() (*ingest, error) {
	in := &ingest{bus: b, answers: make(chan answer, maxInFlight)}
	in.wg.Go(in.run)
	sub, err := b.nc.QueueSubscribe(publishPrefix+">", "weir", in.take)
	if err != nil {
		close(in.answers)
		in.wg.Wait()
		return nil, fmt.Errorf("subscribe to %s>: %w", publishPrefix, err)
	}
	in.sub = sub
	// The server knows of it before anybody is told that the bus is open.
	if err := b.nc.FlushTimeout(startTimeout); err != nil {
		in.stop()
		return nil, fmt.Errorf("subscribe to %s>: %w", publishPrefix, err)
	}
	return in, nil
}

// take is called by the client's goroutine of the subscription.
func (in *ingest) take(msg *nats.Msg) {
	t, err := broker.ParseTopic(msg.Subject[len(publishPrefix):])
	a := answer{msg: msg, err: err}
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		a.shard, a.future, a.err = in.bus.send(ctx, t, msg.Data, PublishOptions{IdempotencyKey: msg.Header.Get(nats.MsgIdHdr), Key: msg.Header.Get(headerKey)})
		cancel()
	}
	in.answers <- a
}

func (in *ingest) run() {
	for a := range in.answers {
		var pos broker.Position
		if a.err == nil {
			select {
			case ack := <-a.future.Ok():
				pos = broker.Position{Epoch: a.shard.epoch, Offset: ack.Sequence}
				in.bus.counts.stored.Add(1)
			case err := <-a.future.Err():
				a.err = fmt.Errorf("publish: %w: %w", broker.ErrUnavailable, err)
			}
		}
		if a.err != nil {
			in.bus.counts.failed(a.err)
		}
		if a.msg.Reply != "" {
			_ = a.msg.Respond(ingestReply(pos, a.err)) // a client that went needs no answer
		}
	}
}

// ingestReply is {"offset":N,"epoch":"…"}, or {"error":{"code":N,"message":"…"}} with the codes
// of the publish API.
func ingestReply(pos broker.Position, err error) []byte {
	type apiError struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	reply := struct {
		Offset uint64    `json:"offset,omitempty"`
		Epoch  string    `json:"epoch,omitempty"`
		Error  *apiError `json:"error,omitempty"`
	}{}
	if err != nil {
		code := 107
		if errors.Is(err, broker.ErrUnavailable) {
			code = 108
		}
		reply.Error = &apiError{code, err.Error()}
	} else {
		reply.Offset, reply.Epoch = pos.Offset, pos.Epoch.String()
	}
	b, err := json.Marshal(reply)
	if err != nil { // strings and numbers always marshal
		panic(err)
	}
	return b
}

// stop ends the subscription, answers what is on its way, and joins.
func (in *ingest) stop() {
	closed := make(chan struct{})
	in.sub.SetClosedHandler(func(string) { close(closed) })
	if err := in.sub.Drain(); err == nil {
		select {
		case <-closed:
		case <-time.After(startTimeout):
		}
	}
	close(in.answers)
	in.wg.Wait()
}
