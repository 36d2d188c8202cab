package region

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/broker"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	epoch = broker.Epoch(7)
	name  = broker.Topic("t")
)

// stream is a source whose store holds every event, and whose live events the test chooses.
type stream struct {
	mu     sync.Mutex
	stored []*broker.Event
	gone   uint64 // offsets up to here are no longer stored
	fail   error  // of Replay
	head   uint64 // of Head, when the topic opens
	epoch  broker.Epoch
	// opening is called by Head before it reads, heads after; reads by Replay, after it read.
	opening func(broker.Topic)
	heads   func()
	reads   func()
	live    chan []*broker.Event
	loss    chan struct{}
}

func newStream() *stream {
	return &stream{epoch: epoch, live: make(chan []*broker.Event), loss: make(chan struct{})}
}

func (s *stream) Run(ctx context.Context, events func([]*broker.Event), lost func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-s.live:
			events(b)
		case <-s.loss:
			lost()
		}
	}
}

func (s *stream) Add(context.Context, broker.Pattern) error { return nil }
func (s *stream) Remove(broker.Pattern)                     {}

func (s *stream) Head(_ context.Context, t broker.Topic) (broker.Position, error) {
	if s.opening != nil {
		s.opening(t)
	}
	at := broker.Position{Epoch: s.epoch, Offset: s.head}
	if s.heads != nil {
		s.heads()
	}
	return at, nil
}

func (s *stream) Heads(context.Context) (*broker.Heads, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	heads := new(broker.Heads)
	for i := range heads {
		heads[i] = broker.Position{Epoch: s.epoch, Offset: s.newest()}
	}
	return heads, nil
}

func (s *stream) Settle(context.Context, *broker.Heads) error { return nil }

func (s *stream) ReadShard(context.Context, int, broker.Position, broker.Position, broker.Wanted) ([]*broker.Event, bool, error) {
	return nil, true, nil
}

// newest is the offset of the newest event. s.mu is held.
func (s *stream) newest() uint64 {
	if n := len(s.stored); n > 0 {
		return s.stored[n-1].Position.Offset
	}
	return s.head
}

func (s *stream) Replay(_ context.Context, t broker.Topic, after broker.Position, _ int) (broker.Recovery, error) {
	rec, err := s.replay(t, after)
	if s.reads != nil {
		s.reads()
	}
	return rec, err
}

func (s *stream) replay(t broker.Topic, after broker.Position) (broker.Recovery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return broker.Recovery{}, s.fail
	}
	rec := broker.Recovery{Head: after, Recovered: after.Offset >= s.gone && after.Epoch == s.epoch}
	if after.Epoch != s.epoch {
		after.Offset, rec.Head = 0, broker.Position{Epoch: s.epoch}
	}
	for _, ev := range s.stored {
		if ev.Topic == t && ev.Position.Offset > after.Offset {
			rec.Head.Offset = ev.Position.Offset
			if rec.Recovered {
				rec.Events = append(rec.Events, ev)
			}
		}
	}
	return rec, nil
}

// store adds the topic's next event; its offset skips some, as those of other topics do.
func (s *stream) store(step uint64) *broker.Event { return s.storeIn(name, step) }

func (s *stream) storeIn(t broker.Topic, step uint64) *broker.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var prev uint64
	for _, ev := range s.stored {
		if ev.Topic == t {
			prev = ev.Position.Offset
		}
	}
	ev := &broker.Event{Topic: t, Position: broker.Position{Epoch: s.epoch, Offset: s.newest() + step}, Prev: prev}
	s.stored = append(s.stored, ev)
	return ev
}

// record is a sink that writes down what it gets.
type record struct {
	mu  sync.Mutex
	log []string
}

func (r *record) Deliver(batch []*broker.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ev := range batch {
		r.log = append(r.log, fmt.Sprint(ev.Position.Offset))
	}
}

func (r *record) Reset(p broker.Pattern, head broker.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.Wild() {
		r.log = append(r.log, "reset "+string(p))
		return
	}
	r.log = append(r.log, fmt.Sprintf("reset@%d", head.Offset))
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.log, " ")
}

// failer is what *testing.T and *rapid.T share.
type failer interface {
	Fatalf(format string, args ...any)
}

type rig struct {
	src  *stream
	node *Node
	out  *record
	stop func()
}

func start(t failer, src *stream) *rig {
	r := &rig{src: src, node: New(src, slog.New(slog.DiscardHandler)), out: &record{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.node.Run(ctx, r.out)
	}()
	r.stop = func() {
		cancel()
		<-done
	}
	r.subscribe(t, broker.Pattern(name))
	return r
}

func (r *rig) subscribe(t failer, p broker.Pattern) broker.Position {
	at, err := r.node.Subscribe(context.Background(), p)
	if err != nil {
		t.Fatalf("subscribe to %s: %v", p, err)
	}
	return at
}

// want waits until the sink got exactly that.
func (r *rig) want(t failer, log string) {
	r.until(t, func() bool { return r.out.String() == log }, func() string { return fmt.Sprintf("sink got %q, want %q", r.out, log) })
}

// until waits until ok, and says what is wrong if that takes too long.
func (r *rig) until(t failer, ok func() bool, wrong func() string) {
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-time.After(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s", wrong())
		}
	}
}

func TestEventsInOrderPassThrough(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.src.live <- []*broker.Event{r.src.store(1), r.src.store(3)}
	r.src.live <- []*broker.Event{r.src.store(1)}
	r.want(t, "1 4 5")
}

func TestDuplicatesAreDropped(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	a, b := r.src.store(1), r.src.store(1)
	r.src.live <- []*broker.Event{a, b, a, b, r.src.store(1)}
	r.want(t, "1 2 3")
}

func TestGapIsReadFromTheStream(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.src.live <- []*broker.Event{r.src.store(1)}
	r.src.store(1)
	r.src.store(1)
	r.src.live <- []*broker.Event{r.src.store(1), r.src.store(1)}
	r.want(t, "1 2 3 4 5")
}

func TestGapThatTheStreamForgotIsAReset(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.src.live <- []*broker.Event{r.src.store(1)}
	r.src.store(1)
	late := r.src.store(1)
	r.src.mu.Lock()
	r.src.gone = 2
	r.src.mu.Unlock()
	r.src.live <- []*broker.Event{late}
	r.want(t, "1 reset@3")
	r.src.live <- []*broker.Event{r.src.store(1)}
	r.want(t, "1 reset@3 4")
}

func TestLossOfTheLastEventIsFound(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.src.live <- []*broker.Event{r.src.store(1)}
	r.src.store(1) // nothing comes after it
	r.src.loss <- struct{}{}
	r.want(t, "1 2")
}

func TestEventWithoutPredecessorIsWholeUnlessSomethingWasLost(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.src.live <- []*broker.Event{r.src.store(1)}
	forgotten := r.src.store(5)
	forgotten.Prev = 0 // the stream dropped 1 by age before it stored this one
	r.src.live <- []*broker.Event{forgotten}
	r.want(t, "1 6")
}

func TestStreamMadeAnewIsAReset(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.src.live <- []*broker.Event{r.src.store(1)}
	r.src.live <- []*broker.Event{{Topic: name, Position: broker.Position{Epoch: 8, Offset: 1}}}
	r.want(t, "1 reset@0 1")
}

func TestRecoverIsCountedByOutcome(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.src.store(1)
	rec, err := r.node.Recover(t.Context(), name, broker.Position{Epoch: epoch}, 10)
	if err != nil || !rec.Recovered || len(rec.Events) != 1 {
		t.Fatalf("got %+v, %v", rec, err)
	}
}

// TestAnyLossIsRepaired drops any events on their way, and any may come twice: the sink gets
// all, once and in order.
func TestAnyLossIsRepaired(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := start(t, newStream())
		defer r.stop()
		var want []string
		for i := range rapid.IntRange(1, 40).Draw(t, "events") {
			ev := r.src.store(rapid.Uint64Range(1, 3).Draw(t, "step"))
			want = append(want, fmt.Sprint(ev.Position.Offset))
			switch rapid.IntRange(0, 3).Draw(t, fmt.Sprint("fate", i)) {
			case 0: // lost
			case 1:
				r.src.live <- []*broker.Event{ev, ev}
			default:
				r.src.live <- []*broker.Event{ev}
			}
		}
		r.src.loss <- struct{}{}
		r.want(t, strings.Join(want, " "))
	})
}
