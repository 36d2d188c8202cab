package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"weir/broker"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ingest publishes what NATS clients send to weir.publish.<topic>, and answers them in order; and it
// makes the streams that edges ask for by weir.open.<shard>.
type ingest struct {
	bus     *Bus
	sub     *nats.Subscription
	opens   *nats.Subscription
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
	sub, err := b.client.nc.QueueSubscribe(publishPrefix+">", "weir", in.take)
	if err != nil {
		close(in.answers)
		in.wg.Wait()
		return nil, fmt.Errorf("subscribe to %s>: %w", publishPrefix, err)
	}
	in.sub = sub
	if in.opens, err = b.client.nc.QueueSubscribe(openPrefix+"*", "weir", in.open); err != nil {
		in.stop()
		return nil, fmt.Errorf("subscribe to %s*: %w", openPrefix, err)
	}
	// The server knows of it before anybody is told that the bus is open.
	if err := b.client.nc.FlushTimeout(startTimeout); err != nil {
		in.stop()
		return nil, fmt.Errorf("subscribe to %s>: %w", publishPrefix, err)
	}
	return in, nil
}

// open makes a shard's stream; the answer is empty, or says what went wrong.
func (in *ingest) open(msg *nats.Msg) {
	n, err := strconv.Atoi(msg.Subject[len(openPrefix):])
	if err == nil && (n < 0 || n >= broker.Shards) {
		err = fmt.Errorf("there are %d shards", broker.Shards)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		err = in.bus.makeShard(ctx, in.bus.client, n)
	}
	var text []byte
	if err != nil {
		in.bus.log.Error("shard not opened for an edge", "shard", msg.Subject[len(openPrefix):], "err", err)
		text = []byte(err.Error())
	} else {
		in.bus.used[n].Store(true)
	}
	_ = msg.Respond(text) // an edge that went needs no answer
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
