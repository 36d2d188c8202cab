package bus

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/broker"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	namespace     = "default"
	streamPrefix  = "WEIR_" + namespace + "_"
	storePrefix   = "ev." + namespace + "."
	livePrefix    = "live." + namespace + "."
	publishPrefix = "weir.publish."
	openPrefix    = "weir.open."

	metaEpoch  = "weir.epoch"
	metaFewest = "weir.history_fewest"
)

func streamName(n int) string { return streamPrefix + strconv.Itoa(n) }

// storedIn stands for the subjects of all topics of a shard, as they are stored.
func storedIn(n int) string { return storePrefix + strconv.Itoa(n) + ".>" }

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

// shard is one stream as a client knows it.
type shard struct {
	mu    sync.Mutex
	state atomic.Pointer[shardState]
}

// shardState is what holds as long as the session by which it was read.
type shardState struct {
	name   string
	stream jetstream.Stream
	epoch  broker.Epoch
	// fewest is the least HistoryEvents this stream was ever kept at: see Link.Replay.
	fewest  int64
	session uint64
}

// shardOf is the shard of a topic, made if this is its first use.
func (c *client) shardOf(ctx context.Context, t broker.Topic) (*shardState, error) {
	return c.openShard(ctx, t.Shard())
}

func (c *client) openShard(ctx context.Context, n int) (*shardState, error) {
	session, err := c.up()
	if err != nil {
		return nil, fmt.Errorf("open shard %d: %w", n, err)
	}
	if st := c.known(n, session.number); st != nil {
		return st, nil
	}
	sh := &c.shards[n]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if st := c.known(n, session.number); st != nil {
		return st, nil
	}
	st, err := c.readShard(ctx, n)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err = c.bus.makeShard(ctx, c, n); err == nil {
			st, err = c.readShard(ctx, n)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open shard %d: %w: %w", n, broker.ErrUnavailable, err)
	}
	// If the session has ended meanwhile nobody takes this for the next one's.
	st.session = session.number
	sh.state.Store(st)
	c.bus.used[n].Store(true)
	return st, nil
}

// known is a shard as a session knows it; nil if it does not.
func (c *client) known(n int, session uint64) *shardState {
	if st := c.shards[n].state.Load(); st != nil && st.session == session {
		return st
	}
	return nil
}

// readShard reads a shard from its stream.
func (c *client) readShard(ctx context.Context, n int) (*shardState, error) {
	stream, err := c.js.Stream(ctx, streamName(n))
	if err != nil {
		return nil, err
	}
	st := &shardState{name: streamName(n), stream: stream}
	info := stream.CachedInfo()
	if st.epoch, err = broker.ParseEpoch(info.Config.Metadata[metaEpoch]); err != nil {
		return nil, fmt.Errorf("stream %s was not made by weir: %w", info.Config.Name, err)
	}
	if st.fewest, err = strconv.ParseInt(info.Config.Metadata[metaFewest], 10, 64); err != nil {
		return nil, fmt.Errorf("stream %s was not made by weir: %w", info.Config.Name, err)
	}
	return st, nil
}

// makeShard has a shard's stream made: by this process if the server is its own, since it has the
// limits, else by the one that has it.
func (b *Bus) makeShard(ctx context.Context, c *client, n int) error {
	if b.cfg.remote() {
		reply, err := c.nc.RequestWithContext(ctx, openPrefix+strconv.Itoa(n), nil)
		if err == nil && len(reply.Data) > 0 {
			err = fmt.Errorf("the broker answered: %s", reply.Data)
		}
		return err
	}
	b.making[n].Lock()
	defer b.making[n].Unlock()
	return b.makeStream(ctx, n)
}

// makeStream makes a shard's stream, or gives one that is there its limits anew. b.making is held.
func (b *Bus) makeStream(ctx context.Context, n int) error {
	cfg := jetstream.StreamConfig{
		Name:              streamName(n),
		Subjects:          []string{storedIn(n)},
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardOld,
		MaxMsgsPerSubject: b.cfg.HistoryEvents,
		MaxBytes:          b.cfg.MaxBytes / broker.Shards,
		MaxAge:            b.cfg.HistoryAge,
		MaxMsgSize:        int32(b.cfg.MaxEventBytes + eventOverheadBytes), //nolint:gosec // Validate bounds it
		Storage:           jetstream.MemoryStorage,
		AllowDirect:       true,
		RePublish:         &jetstream.RePublish{Source: storedIn(n), Destination: shardSubject(n)},
		Metadata:          map[string]string{metaEpoch: newEpoch().String(), metaFewest: strconv.FormatInt(b.cfg.HistoryEvents, 10)},
	}
	if b.cfg.Storage == File {
		cfg.Storage = jetstream.FileStorage
	}
	old, err := b.client.js.Stream(ctx, cfg.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
	case err != nil:
		return err
	default:
		// The stream goes on: its epoch, and the fewest events it was ever kept at.
		meta := old.CachedInfo().Config.Metadata
		cfg.Metadata[metaEpoch] = meta[metaEpoch]
		if was, err := strconv.ParseInt(meta[metaFewest], 10, 64); err == nil && was < b.cfg.HistoryEvents {
			cfg.Metadata[metaFewest] = meta[metaFewest]
		}
	}
	_, err = b.client.js.CreateOrUpdateStream(ctx, cfg)
	return err
}

// adoptTimeout bounds one call as the bus starts. It is long: a host that is slow, or stood still for
// some seconds, is no reason not to start.
const adoptTimeout = time.Minute

// adopt opens the shards that the storage holds, so that changed limits hold for all.
func (b *Bus) adopt(ctx context.Context) error {
	stored, err := b.stored(ctx)
	if err != nil {
		return fmt.Errorf("list stored shards: %w", err)
	}
	for _, n := range stored {
		ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
		err := b.makeShard(ctx, b.client, n)
		cancel()
		if err != nil {
			return fmt.Errorf("open stored shard %d: %w", n, err)
		}
		b.used[n].Store(true)
	}
	return nil
}

// stored are the shards that have a stream.
func (b *Bus) stored(ctx context.Context) (shards []int, err error) {
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	names := b.client.js.StreamNames(ctx)
	for name := range names.Name() {
		if n, ok := shardOfStream(name); ok {
			shards = append(shards, n)
		}
	}
	return shards, names.Err()
}

// shardOfStream is the shard whose stream has that name.
func shardOfStream(name string) (shard int, ok bool) {
	number, ok := strings.CutPrefix(name, streamPrefix)
	n, err := strconv.Atoi(number)
	return n, ok && err == nil && n >= 0 && n < broker.Shards
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
