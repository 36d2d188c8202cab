package bus

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"weir/broker"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	namespace     = "default"
	streamPrefix  = "WEIR_" + namespace + "_"
	storePrefix   = "ev." + namespace + "."
	livePrefix    = "live." + namespace + "."
	publishPrefix = "weir.publish."

	metaEpoch  = "weir.epoch"
	metaFewest = "weir.history_fewest"
)

func storeSubject(t broker.Topic) string {
	return storePrefix + strconv.Itoa(t.Shard()) + "." + string(t)
}

func liveSubject(t broker.Topic) string {
	return livePrefix + strconv.Itoa(t.Shard()) + "." + string(t)
}

// topicOf is the inverse of storeSubject and liveSubject.
func topicOf(subject, prefix string) (shard int, t broker.Topic, ok bool) {
	rest, ok := strings.CutPrefix(subject, prefix)
	if !ok {
		return 0, "", false
	}
	number, name, ok := strings.Cut(rest, ".")
	if !ok {
		return 0, "", false
	}
	shard, err := strconv.Atoi(number)
	if err != nil || shard < 0 || shard >= broker.Shards {
		return 0, "", false
	}
	return shard, broker.Topic(name), true
}

// shardOf is the shard of a topic, made if this is its first use.
func (b *Bus) shardOf(ctx context.Context, t broker.Topic) (*shardState, error) {
	n := t.Shard()
	sh := &b.shards[n]
	if st := sh.state.Load(); st != nil {
		return st, nil
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if st := sh.state.Load(); st != nil {
		return st, nil
	}
	st, err := b.makeShard(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("open shard %d: %w: %w", n, broker.ErrUnavailable, err)
	}
	sh.state.Store(st)
	return st, nil
}

func (b *Bus) makeShard(ctx context.Context, n int) (*shardState, error) {
	number := strconv.Itoa(n)
	cfg := jetstream.StreamConfig{
		Name:              streamPrefix + number,
		Subjects:          []string{storePrefix + number + ".>"},
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardOld,
		MaxMsgsPerSubject: b.cfg.HistoryEvents,
		MaxBytes:          b.cfg.MaxBytes / broker.Shards,
		MaxAge:            b.cfg.HistoryAge,
		MaxMsgSize:        int32(b.cfg.MaxEventBytes + eventOverheadBytes), //nolint:gosec // Validate bounds it
		Storage:           jetstream.MemoryStorage,
		AllowDirect:       true,
		RePublish:         &jetstream.RePublish{Source: storePrefix + number + ".>", Destination: livePrefix + number + ".>"},
		Metadata:          map[string]string{metaEpoch: newEpoch().String(), metaFewest: strconv.FormatInt(b.cfg.HistoryEvents, 10)},
	}
	if b.cfg.Storage == File {
		cfg.Storage = jetstream.FileStorage
	}
	old, err := b.js.Stream(ctx, cfg.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
	case err != nil:
		return nil, err
	default:
		// The stream goes on: its epoch, and the fewest events it was ever kept at.
		meta := old.CachedInfo().Config.Metadata
		cfg.Metadata[metaEpoch] = meta[metaEpoch]
		if was, err := strconv.ParseInt(meta[metaFewest], 10, 64); err == nil && was < b.cfg.HistoryEvents {
			cfg.Metadata[metaFewest] = meta[metaFewest]
		}
	}
	stream, err := b.js.CreateOrUpdateStream(ctx, cfg)
	if err != nil {
		return nil, err
	}
	st := &shardState{stream: stream}
	meta := stream.CachedInfo().Config.Metadata
	if st.epoch, err = broker.ParseEpoch(meta[metaEpoch]); err != nil {
		return nil, fmt.Errorf("stream %s was not made by weir: %w", cfg.Name, err)
	}
	if st.fewest, err = strconv.ParseInt(meta[metaFewest], 10, 64); err != nil {
		return nil, fmt.Errorf("stream %s was not made by weir: %w", cfg.Name, err)
	}
	return st, nil
}

// adopt opens the shards that the storage holds, so that changed limits hold for all.
func (b *Bus) adopt(ctx context.Context) error {
	names := b.js.StreamNames(ctx)
	for name := range names.Name() {
		n, ok := shardOfStream(name)
		if !ok {
			continue
		}
		st, err := b.makeShard(ctx, n)
		if err != nil {
			return fmt.Errorf("open stored shard %d: %w", n, err)
		}
		b.shards[n].state.Store(st)
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("list stored shards: %w", err)
	}
	return nil
}

// shardOfStream is the shard whose stream has that name.
func shardOfStream(name string) (shard int, ok bool) {
	number, ok := strings.CutPrefix(name, streamPrefix)
	n, err := strconv.Atoi(number)
	return n, ok && err == nil && n >= 0 && n < broker.Shards
}

// epochOf is the epoch of a shard in use.
func (b *Bus) epochOf(shard int) broker.Epoch {
	if st := b.shards[shard].state.Load(); st != nil {
		return st.epoch
	}
	return 0
}

func newEpoch() broker.Epoch {
	var raw [8]byte
	for {
		_, _ = rand.Read(raw[:]) // never fails
		if e := broker.Epoch(binary.BigEndian.Uint64(raw[:])); e != 0 {
			return e
		}
	}
}
