package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weir/broker"
)

// Source is what the hub needs of the node's broker.
type Source interface {
	// Subscribe makes a topic live on this node: every event after the position it returns is
	// handed to [Hub.Deliver], once, whatever else it is part of. With a pattern, whose position
	// means nothing, all of its topics are live. The hub calls it again only after Unsubscribe.
	Subscribe(ctx context.Context, p broker.Pattern) (broker.Position, error)
	// Unsubscribe ends that.
	Unsubscribe(p broker.Pattern)
	// Recover gives the events of t after a position, at most limit, or says that it cannot.
	Recover(ctx context.Context, t broker.Topic, after broker.Position, limit int) (broker.Recovery, error)
	// Heads are where the shards stand.
	Heads(ctx context.Context) (*broker.Heads, error)
	// Settle returns when Deliver has had all events up to heads that patterns stand for.
	Settle(ctx context.Context, heads *broker.Heads) error
	// ReadShard gives the events of a shard after one position and up to another, in order, of the topics
	// that are wanted. whole is false if one could be missing.
	ReadShard(ctx context.Context, shard int, after, last broker.Position, wanted broker.Wanted) (events []*broker.Event, whole bool, err error)
}

// Config configures a [Hub]. The zero value is valid.
type Config struct {
	// SliceWrites is how many conns one slice of a sweep writes to before another topic may have
	// its turn. A write takes some 5 us. 16 to 65536, default 16.
	SliceWrites int
	// BatchBytes bounds the payload bytes joined into one write. Bytes, 1 KiB to 16 MiB,
	// default 64 KiB; one event over it is a batch by itself.
	BatchBytes int
	// InboxEvents bounds the events waiting for one loop; at the bound the broker's reader
	// waits, which shows in weir_edge_inbox_stalls_total. 64 to 1<<20, default 16384.
	InboxEvents int
	// RingEvents bounds the recent messages kept per topic and loop for subscribers that
	// resume. 0 to 65536, default 64.
	RingEvents int
	// RingBytes bounds their payload bytes. Bytes, 0 to 64 MiB, default 256 KiB.
	RingBytes int
	// PatternRingEvents and PatternRingBytes are those of a pattern, for which there is no other
	// way to catch up. 0 to 1<<20, default 1024; bytes, 0 to 64 MiB, default 1 MiB.
	PatternRingEvents, PatternRingBytes int
	// RecoverEvents bounds the events that a subscriber which catches up is given by the broker at
	// once: it asks again. 1 to 65536, default 256.
	RecoverEvents int
	// Modes give topics their mode; the first that matches holds, and ModeLog if none does. A pattern
	// has that of the first that has a topic in common with it, if it holds for all of its topics, else
	// ModeLog.
	Modes []ModeRule
	// LatestKeys bounds the keys whose newest event is kept, per topic in ModeLatest and loop; of a
	// pattern each of its topics has keys of its own, and the bound is for all of them. Who
	// falls behind by more is sent all events instead. 1 to 1<<20, default 65536.
	LatestKeys int
	// Linger is how long a topic without subscribers stays open, so that interest does not
	// churn. Default 5 s.
	Linger time.Duration
	// OpenTimeout bounds one call to the Source. Default 5 s.
	OpenTimeout time.Duration
}

// FieldError says which field of a Config is out of range, and what would be right.
type FieldError struct {
	Field string
	Value any
	Want  string
}

// Error is "Field is Value: want Want".
func (e *FieldError) Error() string {
	return fmt.Sprintf("hub.%s is %v: want %s", e.Field, e.Value, e.Want)
}

// withDefaults is c with every zero field at its default.
func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&c.SliceWrites, 16},
		{&c.BatchBytes, 64 << 10},
		{&c.InboxEvents, 16 << 10},
		{&c.RingEvents, 64},
		{&c.RingBytes, 256 << 10},
		{&c.PatternRingEvents, 1024},
		{&c.PatternRingBytes, 1 << 20},
		{&c.RecoverEvents, 256},
		{&c.LatestKeys, 1 << 16},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Linger == 0 {
		c.Linger = 5 * time.Second
	}
	if c.OpenTimeout == 0 {
		c.OpenTimeout = 5 * time.Second
	}
	return c
}

// Validate reports every field that is out of range, joined; nil if all are fine.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	for _, r := range []struct {
		field     string
		value     int
		low, high int
	}{
		{"SliceWrites", c.SliceWrites, 16, 65536},
		{"BatchBytes", c.BatchBytes, 1 << 10, 16 << 20},
		{"InboxEvents", c.InboxEvents, 64, 1 << 20},
		{"RingEvents", c.RingEvents, 0, 65536},
		{"RingBytes", c.RingBytes, 0, 64 << 20},
		{"PatternRingEvents", c.PatternRingEvents, 0, 1 << 20},
		{"PatternRingBytes", c.PatternRingBytes, 0, 64 << 20},
		{"RecoverEvents", c.RecoverEvents, 1, 1 << 16},
		{"LatestKeys", c.LatestKeys, 1, 1 << 20},
		{"Linger", int(c.Linger), 1, int(time.Hour)},
		{"OpenTimeout", int(c.OpenTimeout), 1, int(time.Minute)},
	} {
		if r.value < r.low || r.value > r.high {
			errs = append(errs, &FieldError{r.field, r.value, fmt.Sprintf("%d to %d", r.low, r.high)})
		}
	}
	return errors.Join(errs...)
}
