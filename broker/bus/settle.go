package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"weir/broker"

	"github.com/nats-io/nats.go"
)

// shardReadEvents bounds the events that [Link.ReadShard] gives.
const shardReadEvents = 1 << 16

// marks are those put among a link's messages, each with a channel that is closed when all before it were
// handed on.
type marks struct {
	mu     sync.Mutex
	passed map[*nats.Msg]chan struct{}
}

func (ms *marks) add() (*nats.Msg, chan struct{}) {
	m, passed := &nats.Msg{}, make(chan struct{})
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if ms.passed == nil {
		ms.passed = make(map[*nats.Msg]chan struct{})
	}
	ms.passed[m] = passed
	return m, passed
}

func (ms *marks) pass(m *nats.Msg) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if passed := ms.passed[m]; passed != nil {
		close(passed)
		delete(ms.passed, m)
	}
}

// Settle returns when all events up to heads that are live have come to Run, and its callbacks have
// returned: each shard is asked for one event, by a direct get, whose answer leaves the server after all
// that the stream had republished (nats-server 2.15, stream.outq and stream.isolateMu); then a mark goes
// through the link.
func (l *Link) Settle(ctx context.Context, heads *broker.Heads) error {
	ctx, done, err := l.client.call(ctx)
	if err != nil {
		return fmt.Errorf("settle a link: %w", err)
	}
	defer done()
	if err := l.askAll(ctx, heads); err != nil {
		return fmt.Errorf("settle a link: %w: %w", broker.ErrUnavailable, err)
	}
	mark, passed := l.marks.add()
	defer l.marks.pass(mark)
	select {
	case l.msgs <- mark:
	case <-ctx.Done():
		return fmt.Errorf("settle a link: its reader is behind: %w: %w", broker.ErrUnavailable, ctx.Err())
	}
	select {
	case <-passed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("settle a link: its reader is behind: %w: %w", broker.ErrUnavailable, ctx.Err())
	}
}

// askAll returns when each shard has answered.
func (l *Link) askAll(ctx context.Context, heads *broker.Heads) error {
	inbox := nats.NewInbox()
	sub, err := l.client.nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // it ends with the conn at the latest
	asked := 0
	for n, head := range heads {
		if head.IsZero() {
			continue
		}
		request, err := json.Marshal(map[string]uint64{"seq": max(head.Offset, 1)})
		if err != nil {
			return err
		}
		if err := l.client.nc.PublishRequest(directGet+streamName(n), inbox, request); err != nil {
			return err
		}
		asked++
	}
	for range asked { // found or not
		if _, err := sub.NextMsgWithContext(ctx); err != nil {
			return err
		}
	}
	return nil
}

// ReadShard gives the events of a shard after one position and up to another, of the topics that are wanted,
// in order. whole is false if one could be missing: by the reasons of [Link.Replay], or since there were
// more than 65,536.
func (l *Link) ReadShard(ctx context.Context, n int, after, last broker.Position, wanted broker.Wanted) (events []*broker.Event, whole bool, err error) {
	ctx, done, err := l.client.call(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("read shard %d: %w", n, err)
	}
	defer done()
	st, err := l.client.openShard(ctx, n)
	if err != nil {
		return nil, false, err
	}
	if last.Epoch != st.epoch || after.Epoch != st.epoch && !after.IsZero() {
		return nil, false, nil
	}
	read := uint64(0)
	for at := after.Offset; at < last.Offset; {
		part, err := l.readBatch(ctx, st, storedIn(n), at+1, replayBatch)
		if err != nil {
			return nil, false, fmt.Errorf("read shard %d: %w: %w", n, broker.ErrUnavailable, err)
		}
		if len(part) == 0 {
			break
		}
		for _, ev := range part {
			if at = ev.Position.Offset; at > last.Offset {
				break
			}
			read++
			if past, ok := wanted(ev.Topic); ok && at > past {
				events = append(events, ev)
			}
		}
		if len(events) > shardReadEvents {
			return nil, false, nil
		}
	}
	if read == last.Offset-after.Offset {
		return events, true, nil
	}
	whole, err = l.areWhole(ctx, st, events, after.Offset, wanted)
	return events, whole, err
}

// areWhole is the proof for the topics of events. Of another one that is wanted none is missing if none was
// dropped from the head.
func (l *Link) areWhole(ctx context.Context, st *shardState, events []*broker.Event, after uint64, wanted broker.Wanted) (bool, error) {
	info, err := st.stream.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("read state of a shard: %w: %w", broker.ErrUnavailable, err)
	}
	if info.State.FirstSeq > after+1 {
		return false, nil
	}
	asked := map[broker.Topic]bool{}
	for _, ev := range events {
		if asked[ev.Topic] {
			continue
		}
		asked[ev.Topic] = true
		past, _ := wanted(ev.Topic)
		if whole, err := l.isWhole(ctx, st, ev.Topic, max(past, after)); err != nil || !whole {
			return false, err
		}
	}
	return true, nil
}
