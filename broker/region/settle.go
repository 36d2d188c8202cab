package region

import (
	"context"
	"fmt"
	"time"

	"weir/broker"
)

// settlePoll is how often Settle looks whether repairs have ended.
const settlePoll = time.Millisecond

// Heads are where the shards stand.
func (n *Node) Heads(ctx context.Context) (*broker.Heads, error) {
	return n.heads.read(ctx, n.source.Heads)
}

// Settle returns when the sink has been handed all events up to heads that patterns stand for.
func (n *Node) Settle(ctx context.Context, heads *broker.Heads) error {
	if err := n.source.Settle(ctx, heads); err != nil {
		return err
	}
	t := time.NewTicker(settlePoll)
	defer t.Stop()
	for {
		held := n.holding()
		if held == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d topics of patterns are being repaired: %w: %w", held, broker.ErrUnavailable, ctx.Err())
		case <-t.C:
		}
	}
}

// holding counts the topics of patterns whose events wait.
func (n *Node) holding() (held int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, st := range n.topics {
		if st.holding && len(n.patterns.matcher.Match(st.name)) > 0 {
			held++
		}
	}
	return held
}

// ReadShard gives events of a shard after one position and up to another, in order, of the topics that are
// wanted. whole is false if one could be missing.
func (n *Node) ReadShard(ctx context.Context, shard int, after, last broker.Position, wanted broker.Wanted) (events []*broker.Event, whole bool, err error) {
	return n.source.ReadShard(ctx, shard, after, last, wanted)
}
