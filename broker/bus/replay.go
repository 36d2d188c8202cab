package bus

import (
	"context"
	"encoding/json"
	"fmt"

	"weir/broker"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// replayBatch is how many events one direct get asks for, directGet the subject for it.
const (
	replayBatch = 256
	directGet   = "$JS.API.DIRECT.GET."
)

// Head is a position of t after which everything is new: its shard's last sequence.
func (l *Link) Head(ctx context.Context, t broker.Topic) (broker.Position, error) {
	ctx, done, err := l.client.call(ctx)
	if err != nil {
		return broker.Position{}, fmt.Errorf("read head of %s: %w", t, err)
	}
	defer done()
	st, err := l.client.shardOf(ctx, t)
	if err != nil {
		return broker.Position{}, err
	}
	info, err := st.stream.Info(ctx)
	if err != nil {
		return broker.Position{}, fmt.Errorf("read head of %s: %w: %w", t, broker.ErrUnavailable, err)
	}
	return broker.Position{Epoch: st.epoch, Offset: info.State.LastSeq}, nil
}

// Heads are such positions in all shards, zero in one that does not exist yet.
func (l *Link) Heads(ctx context.Context) (*broker.Heads, error) {
	ctx, done, err := l.client.call(ctx)
	if err != nil {
		return nil, fmt.Errorf("read heads of shards: %w", err)
	}
	defer done()
	heads := new(broker.Heads)
	streams := l.client.js.ListStreams(ctx)
	for info := range streams.Info() {
		n, ok := shardOfStream(info.Config.Name)
		if !ok {
			continue
		}
		epoch, err := broker.ParseEpoch(info.Config.Metadata[metaEpoch])
		if err != nil {
			return nil, fmt.Errorf("stream %s was not made by weir: %w", info.Config.Name, err)
		}
		heads[n] = broker.Position{Epoch: epoch, Offset: info.State.LastSeq}
	}
	if err := streams.Err(); err != nil {
		return nil, fmt.Errorf("read heads of shards: %w: %w", broker.ErrUnavailable, err)
	}
	return heads, nil
}

// Replay gives the events of t after a position, at most limit, or Recovered=false if one could be
// missing.
//
// Why nothing is missing when it says so: events leave a stream oldest first, by age or size
// from its head, or by the number per topic from the topic's oldest. The shape of the stream
// is read after the events, so what was there to be read is at most more than what the shape
// proves. With the topic's oldest event at or before the position, all later ones are there.
// Else, with the stream's first sequence at or before the next one, none was dropped from the
// head; and with fewer events of the topic than it was ever limited to, none by number.
func (l *Link) Replay(ctx context.Context, t broker.Topic, after broker.Position, limit int) (broker.Recovery, error) {
	ctx, done, err := l.client.call(ctx)
	if err != nil {
		return broker.Recovery{}, fmt.Errorf("read events of %s: %w", t, err)
	}
	defer done()
	st, err := l.client.shardOf(ctx, t)
	if err != nil {
		return broker.Recovery{}, err
	}
	before, err := st.stream.Info(ctx)
	if err != nil {
		return broker.Recovery{}, fmt.Errorf("read shard of %s: %w: %w", t, broker.ErrUnavailable, err)
	}
	head := broker.Position{Epoch: st.epoch, Offset: before.State.LastSeq}
	if after.Epoch != st.epoch || after.Offset > head.Offset {
		return broker.Recovery{Head: head}, nil
	}
	events, err := l.read(ctx, st, storeSubject(t), after.Offset+1, limit+1)
	if err != nil {
		return broker.Recovery{}, err
	}
	whole, err := l.isWhole(ctx, st, t, after.Offset)
	if err != nil {
		return broker.Recovery{}, err
	}
	if !whole {
		return broker.Recovery{Head: head}, nil
	}
	if len(events) > limit {
		return broker.Recovery{Events: events[:limit], Head: events[limit-1].Position, Recovered: true, More: true}, nil
	}
	if n := len(events); n > 0 {
		head.Offset = max(head.Offset, events[n-1].Position.Offset)
	}
	return broker.Recovery{Events: events, Head: head, Recovered: true}, nil
}

// isWhole is the proof of Replay's comment.
func (l *Link) isWhole(ctx context.Context, st *shardState, t broker.Topic, after uint64) (bool, error) {
	subject := storeSubject(t)
	info, err := st.stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return false, fmt.Errorf("read shard of %s: %w: %w", t, broker.ErrUnavailable, err)
	}
	if info.State.FirstSeq <= after+1 && int64(info.State.Subjects[subject]) < st.fewest { //nolint:gosec // bounded by HistoryEvents
		return true, nil
	}
	oldest, err := l.read(ctx, st, subject, 1, 1)
	if err != nil {
		return false, err
	}
	return len(oldest) > 0 && oldest[0].Position.Offset <= after, nil
}

// read gets at most limit events of a subject from a sequence on, by batched direct gets (NATS
// ADR-31).
func (l *Link) read(ctx context.Context, st *shardState, subject string, from uint64, limit int) ([]*broker.Event, error) {
	var events []*broker.Event
	for len(events) < limit {
		part, err := l.readBatch(ctx, st, subject, from, min(replayBatch, limit-len(events)))
		if err != nil {
			return nil, fmt.Errorf("read events of %s: %w: %w", subject, broker.ErrUnavailable, err)
		}
		if len(part) == 0 {
			break
		}
		events = append(events, part...)
		from = part[len(part)-1].Position.Offset + 1
	}
	return events, nil
}

func (l *Link) readBatch(ctx context.Context, st *shardState, subject string, from uint64, batch int) ([]*broker.Event, error) {
	request, err := json.Marshal(map[string]any{"seq": from, "next_by_subj": subject, "batch": batch})
	if err != nil {
		return nil, err
	}
	inbox := nats.NewInbox()
	sub, err := l.client.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // it ends with the conn at the latest
	if err := l.client.nc.PublishRequest(directGet+st.name, inbox, request); err != nil {
		return nil, err
	}
	var events []*broker.Event
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "204", "404": // the end of the batch; nothing there
			return events, nil
		default:
			return nil, fmt.Errorf("the stream answered %s %s", status, m.Header.Get("Description"))
		}
		// Prev stays 0: the header for it counts within the batch here.
		if _, t, ok := topicOf(m.Header.Get("Nats-Subject"), storePrefix); !ok {
			return nil, fmt.Errorf("the stream has an event of %q, which is no topic", m.Header.Get("Nats-Subject"))
		} else if ev := newEvent(t, st.epoch, m); ev != nil {
			events = append(events, ev)
		}
	}
}
