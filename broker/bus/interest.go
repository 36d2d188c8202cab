package bus

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"weir/broker"

	"github.com/nats-io/nats.go"
)

// Bounds of a link's interest. A shard of which more topics are wanted than shardTopics, or whose
// topics come and go more often than shardChanges times a tick, is subscribed to as a whole, and by
// topic again once it was below the lower marks for calmTicks ticks in a row.
const (
	shardTopics     = 64
	calmTopics      = 32
	shardChanges    = 100
	calmChanges     = 10
	calmTicks       = 5
	interestTick    = time.Second
	retireAfter     = time.Second
	interestTimeout = 5 * time.Second
)

// kind is what a subscription of a link is to.
type kind uint8

const (
	kindTopic kind = iota
	kindShard
	kindPattern
	kinds
)

func (k kind) String() string { return [...]string{"topic", "shard", "pattern"}[k] }

// interest is which subjects a link is subscribed to, so that all that is wanted comes, from as few
// subscriptions as is cheap: a topic is covered by a pattern, or by its shard as a whole, else it has
// one of its own. While what covers a topic changes, it is covered by both.
type interest struct {
	link *Link
	// op is held over a change and its round trip; mu guards what a change changes and the reader
	// looks at. Order: op, then mu.
	op sync.Mutex

	mu       sync.RWMutex
	shards   [broker.Shards]shardInterest
	patterns broker.Matcher[struct{}]
	whole    atomic.Int32 // shards that are subscribed to as a whole

	// Guarded by op.
	wild map[broker.Pattern]struct{}
	subs map[string]*subscription // by subject
}

// shardInterest is what is wanted of a shard.
type shardInterest struct {
	topics  map[broker.Topic]struct{}
	whole   bool
	changes int // of topics, since the last tick
	calm    int // ticks
}

// subscription is one of a link.
type subscription struct {
	sub  *nats.Subscription
	kind kind
	// retired is when it is no longer needed, or zero: what the server had on its way for this
	// subscription alone may come for a while after another one took its place.
	retired time.Time
}

func (in *interest) init(l *Link) {
	in.link = l
	in.wild = make(map[broker.Pattern]struct{})
	in.subs = make(map[string]*subscription)
}

func shardSubject(n int) string { return livePrefix + strconv.Itoa(n) + ".>" }

func patternSubject(p broker.Pattern) string { return livePrefix + "*." + string(p) }

// wants reports whether an event of a topic is wanted. While no shard is subscribed to as a whole
// nothing else comes.
func (in *interest) wants(subject string) bool {
	if in.whole.Load() == 0 {
		return true
	}
	n, t, ok := topicOf(subject, livePrefix)
	if !ok {
		return false
	}
	in.mu.RLock()
	_, wanted := in.shards[n].topics[t]
	in.mu.RUnlock()
	return wanted || in.covered(t)
}

// covered reports whether a pattern stands for t.
func (in *interest) covered(t broker.Topic) bool { return len(in.patterns.Match(t)) > 0 }

// need subscribes to subject, if the link is not. fresh says that a round trip is wanted before the
// server is known to have it. in.op is held.
func (in *interest) need(subject string, k kind) (fresh bool, err error) {
	if s := in.subs[subject]; s != nil {
		s.retired = time.Time{}
		return false, nil
	}
	sub, err := in.link.client.nc.ChanSubscribe(subject, in.link.msgs)
	if err != nil {
		return false, fmt.Errorf("subscribe to %s: %w: %w", subject, broker.ErrUnavailable, err)
	}
	in.subs[subject] = &subscription{sub: sub, kind: k}
	in.link.bus.counts.subscriptions[k].Add(1)
	return true, nil
}

// drop ends a subscription at once. in.op is held.
func (in *interest) drop(subject string) {
	s := in.subs[subject]
	if s == nil {
		return
	}
	delete(in.subs, subject)
	in.link.bus.counts.subscriptions[s.kind].Add(-1)
	if err := s.sub.Unsubscribe(); err != nil {
		in.link.bus.log.Debug("unsubscribe", "subject", subject, "err", err)
	}
}

// retire ends a subscription in whose place another came, after a while. in.op is held.
func (in *interest) retire(subject string) {
	if s := in.subs[subject]; s != nil && s.retired.IsZero() {
		s.retired = time.Now()
	}
}

// flush is a round trip: the server has all subscriptions from then on.
func (in *interest) flush(ctx context.Context) error {
	if err := in.link.client.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("subscribe: %w: %w", broker.ErrUnavailable, err)
	}
	return nil
}

// add is Link.Add.
func (in *interest) add(ctx context.Context, p broker.Pattern) error {
	in.op.Lock()
	defer in.op.Unlock()
	if p.Wild() {
		return in.addPattern(ctx, p)
	}
	t := broker.Topic(p)
	n := t.Shard()
	sh := &in.shards[n]
	in.mu.Lock()
	_, known := sh.topics[t]
	if !known {
		if sh.topics == nil {
			sh.topics = make(map[broker.Topic]struct{})
		}
		sh.topics[t] = struct{}{}
		sh.changes++
	}
	in.mu.Unlock()
	if known {
		return nil
	}
	err := in.cover(ctx, n, t)
	if err != nil {
		in.forget(t)
		in.drop(liveSubject(t))
	}
	return err
}

// cover has a topic that was added come.
func (in *interest) cover(ctx context.Context, n int, t broker.Topic) error {
	sh := &in.shards[n]
	if sh.whole || in.covered(t) {
		return nil
	}
	if sh.changes > shardChanges || len(in.uncovered(n)) > shardTopics {
		return in.takeWhole(ctx, n)
	}
	fresh, err := in.need(liveSubject(t), kindTopic)
	if err != nil || !fresh {
		return err
	}
	return in.flush(ctx)
}

// uncovered are the shard's topics that no pattern stands for. in.op is held.
func (in *interest) uncovered(n int) (topics []broker.Topic) {
	for t := range in.shards[n].topics {
		if !in.covered(t) {
			topics = append(topics, t)
		}
	}
	return topics
}

// forget has t not wanted any more. It reports whether it was.
func (in *interest) forget(t broker.Topic) bool {
	sh := &in.shards[t.Shard()]
	in.mu.Lock()
	defer in.mu.Unlock()
	_, known := sh.topics[t]
	delete(sh.topics, t)
	return known
}

// remove is Link.Remove.
func (in *interest) remove(p broker.Pattern) {
	in.op.Lock()
	defer in.op.Unlock()
	if p.Wild() {
		in.removePattern(p)
		return
	}
	t := broker.Topic(p)
	if !in.forget(t) {
		return
	}
	in.shards[t.Shard()].changes++
	if s := in.subs[liveSubject(t)]; s != nil && s.retired.IsZero() {
		in.drop(liveSubject(t))
	}
}

func (in *interest) addPattern(ctx context.Context, p broker.Pattern) error {
	if _, known := in.wild[p]; known {
		return nil
	}
	subject := patternSubject(p)
	fresh, err := in.need(subject, kindPattern)
	if err == nil && fresh {
		err = in.flush(ctx)
	}
	if err != nil {
		in.drop(subject)
		return err
	}
	in.wild[p] = struct{}{}
	in.patterns.Add(p, struct{}{})
	for i := range in.shards {
		for t := range in.shards[i].topics {
			if p.Matches(t) {
				in.retire(liveSubject(t))
			}
		}
	}
	return nil
}

// removePattern subscribes to the topics that p alone covered.
func (in *interest) removePattern(p broker.Pattern) {
	if _, known := in.wild[p]; !known {
		return
	}
	delete(in.wild, p)
	in.patterns.Remove(p)
	ctx, cancel := context.WithTimeout(context.Background(), interestTimeout)
	defer cancel()
	in.change(ctx, func() (fresh bool, err error) {
		for n := range in.shards {
			var more bool
			if sh := &in.shards[n]; !sh.whole && len(sh.topics) > 0 {
				more, err = in.coverShard(ctx, n)
			}
			if err != nil {
				return fresh, err
			}
			fresh = fresh || more
		}
		return fresh, nil
	})
	in.retire(patternSubject(p))
}

// coverShard subscribes to what nothing covers of a shard.
func (in *interest) coverShard(ctx context.Context, n int) (fresh bool, err error) {
	if len(in.uncovered(n)) > shardTopics {
		return false, in.takeWhole(ctx, n)
	}
	return in.byTopic(n)
}

// change subscribes to what takes another's place. If it cannot be known that the server has it, events
// may be missing, which is said.
func (in *interest) change(ctx context.Context, subscribe func() (fresh bool, err error)) {
	fresh, err := subscribe()
	if err == nil && fresh {
		err = in.flush(ctx)
	}
	in.link.report(err)
}

// byTopic subscribes to the topics of a shard that nothing covers.
func (in *interest) byTopic(n int) (fresh bool, err error) {
	for _, t := range in.uncovered(n) {
		more, err := in.need(liveSubject(t), kindTopic)
		if err != nil {
			return fresh, err
		}
		fresh = fresh || more
	}
	return fresh, nil
}

// takeWhole subscribes to a shard as a whole, in place of its topics.
func (in *interest) takeWhole(ctx context.Context, n int) error {
	subject := shardSubject(n)
	in.setWhole(n, true) // from here on the reader looks at what is wanted
	fresh, err := in.need(subject, kindShard)
	if err == nil && fresh {
		err = in.flush(ctx)
	}
	if err != nil {
		in.drop(subject)
		in.setWhole(n, false)
		return err
	}
	for t := range in.shards[n].topics {
		in.retire(liveSubject(t))
	}
	in.link.bus.counts.switches[kindShard].Add(1)
	return nil
}

func (in *interest) setWhole(n int, whole bool) {
	in.shards[n].whole, in.shards[n].calm = whole, 0
	if whole {
		in.whole.Add(1)
	} else {
		in.whole.Add(-1)
	}
}

// tick ends what was retired long enough ago, and goes back to topics in shards that are calm.
func (in *interest) tick(ctx context.Context) {
	in.op.Lock()
	defer in.op.Unlock()
	for subject, s := range in.subs {
		if !s.retired.IsZero() && time.Since(s.retired) >= in.link.retireAfter {
			in.drop(subject)
		}
	}
	for n := range in.shards {
		sh := &in.shards[n]
		changes := sh.changes
		sh.changes = 0
		if !sh.whole {
			continue
		}
		if sh.calm++; changes > calmChanges || len(in.uncovered(n)) > calmTopics {
			sh.calm = 0
		}
		if sh.calm >= calmTicks {
			in.leaveWhole(ctx, n)
		}
	}
}

// close forgets all, after the conn was closed.
func (in *interest) close() {
	in.op.Lock()
	defer in.op.Unlock()
	for subject, s := range in.subs {
		delete(in.subs, subject)
		in.link.bus.counts.subscriptions[s.kind].Add(-1)
	}
}

// leaveWhole subscribes to a shard by topic again.
func (in *interest) leaveWhole(ctx context.Context, n int) {
	ctx, cancel := context.WithTimeout(ctx, interestTimeout)
	defer cancel()
	in.change(ctx, func() (bool, error) { return in.byTopic(n) })
	in.setWhole(n, false)
	in.retire(shardSubject(n))
	in.link.bus.counts.switches[kindTopic].Add(1)
}
