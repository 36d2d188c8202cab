package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"weir/broker"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, cfg Config) *Bus {
	t.Helper()
	b, err := Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func link(t *testing.T, b *Bus) *Link {
	t.Helper()
	l, err := b.NewLink()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func publish(t *testing.T, b *Bus, topic broker.Topic, data string) broker.Position {
	t.Helper()
	p, err := b.Publish(t.Context(), topic, []byte(data), PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sameShard is another topic of t's shard.
func sameShard(t broker.Topic) broker.Topic {
	for i := 0; ; i++ {
		if o := broker.Topic(fmt.Sprintf("other.%d", i)); o.Shard() == t.Shard() {
			return o
		}
	}
}

// collect runs the link until n events came.
func collect(t *testing.T, l *Link, n int) (events []*broker.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := l.Run(ctx, func(batch []*broker.Event) {
		if events = append(events, batch...); len(events) >= n {
			cancel()
		}
	}, func() {})
	if err != nil || len(events) != n {
		t.Fatalf("got %d events, %v, want %d", len(events), err, n)
	}
	return events
}

func TestPublishedEventsComeLiveWithTheirPredecessor(t *testing.T) {
	b := open(t, Config{})
	l := link(t, b)
	const topic = broker.Topic("ticks.EURUSD")
	if err := l.Add(t.Context(), broker.Pattern(topic)); err != nil {
		t.Fatal(err)
	}
	p1 := publish(t, b, topic, "one")
	publish(t, b, sameShard(topic), "between")
	p3 := publish(t, b, topic, "two")
	got := collect(t, l, 2)
	if got[0].Position != p1 || got[1].Position != p3 || p1.Epoch == 0 || p1.Epoch != p3.Epoch {
		t.Fatalf("positions %v %v, published at %v %v", got[0].Position, got[1].Position, p1, p3)
	}
	if got[0].Prev != 0 || got[1].Prev != p1.Offset || p3.Offset != p1.Offset+2 {
		t.Fatalf("prev %d, %d", got[0].Prev, got[1].Prev)
	}
	if string(got[1].Data) != "two" || got[1].Topic != topic || time.Since(time.Unix(0, got[1].OriginNanos)) > time.Minute {
		t.Fatalf("got %+v", got[1])
	}
}

func TestReplayIsExactOrSaysSo(t *testing.T) {
	const topic = broker.Topic("a.b")
	b := open(t, Config{HistoryEvents: 10})
	l := link(t, b)
	other := sameShard(topic)
	var at []broker.Position
	for i := range 4 {
		at = append(at, publish(t, b, topic, fmt.Sprint(i)))
		publish(t, b, other, "x")
	}
	check := func(name string, after broker.Position, limit int, want string) {
		t.Helper()
		rec, err := l.Replay(t.Context(), topic, after, limit)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := fmt.Sprint(rec.Recovered)
		for _, ev := range rec.Events {
			got += " " + string(ev.Data)
		}
		if rec.More {
			got += " and more"
			if n := len(rec.Events); n == 0 || rec.Head != rec.Events[n-1].Position {
				t.Errorf("%s: the rest is after %v", name, rec.Head)
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	start := broker.Position{Epoch: at[0].Epoch}
	check("from the start", start, 100, "true 0 1 2 3")
	check("from the middle", at[1], 100, "true 2 3")
	check("from the end", at[3], 100, "true")
	check("more than the limit", start, 3, "true 0 1 2 and more")
	check("the rest", at[2], 3, "true 3")
	check("another epoch", broker.Position{Epoch: 1, Offset: 1}, 100, "false")
	check("from the future", broker.Position{Epoch: at[0].Epoch, Offset: 1000}, 100, "false")
	for i := 4; i < 12; i++ {
		at = append(at, publish(t, b, topic, fmt.Sprint(i)))
	}
	// 0 and 1 were dropped by number; the shard's first event is another topic's.
	check("before what was dropped", start, 100, "false")
	check("among what was dropped", at[0], 100, "false")
	check("at the oldest kept", at[2], 100, "true 3 4 5 6 7 8 9 10 11")
}

func TestFilesKeepEpochAndOffsetsAcrossRestart(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	b := open(t, cfg)
	p1 := publish(t, b, "a", "1")
	b.Close()
	b = open(t, cfg)
	p2 := publish(t, b, "a", "2")
	if p2.Epoch != p1.Epoch || p2.Offset != p1.Offset+1 {
		t.Fatalf("went on at %v after %v", p2, p1)
	}
	rec, err := link(t, b).Replay(t.Context(), "a", broker.Position{Epoch: p1.Epoch}, 10)
	if err != nil || !rec.Recovered || len(rec.Events) != 2 {
		t.Fatalf("replay: %+v, %v", rec, err)
	}
}

func TestRaisedHistoryDoesNotHideWhatWasDropped(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), HistoryEvents: 2}
	b := open(t, cfg)
	publish(t, b, sameShard("a"), "keeps the head of the stream")
	p := publish(t, b, "a", "1")
	publish(t, b, "a", "2")
	publish(t, b, "a", "3") // drops 1
	b.Close()
	cfg.HistoryEvents = 100
	b = open(t, cfg)
	rec, err := link(t, b).Replay(t.Context(), "a", broker.Position{Epoch: p.Epoch, Offset: p.Offset - 1}, 10)
	if err != nil || rec.Recovered {
		t.Fatalf("replay: %+v, %v, want recovered=false", rec, err)
	}
}

func TestMemoryMakesANewEpochEachTime(t *testing.T) {
	a, b := open(t, Config{}), open(t, Config{})
	if publish(t, a, "x", "1").Epoch == publish(t, b, "x", "1").Epoch {
		t.Fatal("two buses share an epoch")
	}
}

func TestSecondBusOnTheSameDirectoryIsRefused(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	open(t, cfg)
	_, err := Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "another weir uses it") {
		t.Fatalf("got %v", err)
	}
}

func TestBusyPortIsAnErrorNotAnExit(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // a test's listener
	_, err = Open(t.Context(), Config{Listen: ln.Addr().String()}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "free the port") {
		t.Fatalf("got %v", err)
	}
}

func TestServersFatalIsAnError(t *testing.T) {
	l := &serverLog{log: slog.New(slog.DiscardHandler), failed: make(chan error, 1)}
	l.Fatalf("no %s", "disk")
	l.Fatalf("again")
	if err := <-l.failed; err.Error() != "no disk" {
		t.Fatalf("got %v", err)
	}
}

func TestTooLargeIsRefused(t *testing.T) {
	b := open(t, Config{MaxEventBytes: 100})
	_, err := b.Publish(t.Context(), "a", make([]byte, 101), PublishOptions{})
	if !errors.Is(err, broker.ErrTooLarge) {
		t.Fatalf("got %v", err)
	}
	publish(t, b, "a", strings.Repeat("x", 100))
}

func TestKeysComeWithTheirEvents(t *testing.T) {
	b := open(t, Config{})
	l := link(t, b)
	p, err := b.Publish(t.Context(), "a", []byte("x"), PublishOptions{Key: "EUR/USD 1"})
	if err != nil {
		t.Fatal(err)
	}
	rec, err := l.Replay(t.Context(), "a", broker.Position{Epoch: p.Epoch}, 10)
	if err != nil || len(rec.Events) != 1 || rec.Events[0].Key != "EUR/USD 1" {
		t.Errorf("replayed %+v, %v", rec, err)
	}
	for _, key := range []string{"a\nb", "é", " a", strings.Repeat("k", MaxKeyBytes+1)} {
		if _, err := b.Publish(t.Context(), "a", nil, PublishOptions{Key: key}); !errors.Is(err, broker.ErrBadKey) {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

func TestIdempotencyKeyStoresOnce(t *testing.T) {
	b := open(t, Config{})
	var p broker.Position
	for range 2 {
		var err error
		if p, err = b.Publish(t.Context(), "a", []byte("x"), PublishOptions{IdempotencyKey: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	rec, err := link(t, b).Replay(t.Context(), "a", broker.Position{Epoch: p.Epoch}, 10)
	if err != nil || len(rec.Events) != 1 {
		t.Fatalf("stored %d events, %v", len(rec.Events), err)
	}
}

func TestClientsFromOutsideMayOnlyPublishAndListen(t *testing.T) {
	b := open(t, Config{Listen: "127.0.0.1:0"})
	denied := make(chan error, 10)
	nc, err := nats.Connect("nats://"+b.ListenAddr().String(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	live, err := nc.SubscribeSync("live.default.*.a.b")
	if err != nil {
		t.Fatal(err)
	}
	reply, err := nc.Request("weir.publish.a.b", []byte("hello"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var ack struct {
		Offset uint64
		Epoch  string
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil || ack.Offset != 1 || ack.Epoch == "" {
		t.Fatalf("reply %s, %v", reply.Data, err)
	}
	m, err := live.NextMsg(5 * time.Second)
	if err != nil || string(m.Data) != "hello" {
		t.Fatalf("live: %v, %v", m, err)
	}
	reply, err = nc.Request("weir.publish.a.b", make([]byte, b.Config().MaxEventBytes+1), 5*time.Second)
	if err != nil || !strings.Contains(string(reply.Data), `"code":107`) {
		t.Fatalf("too large: %v, %v", reply, err)
	}
	for _, subject := range []string{"live.default.0.x", "ev.default.0.x", "$JS.API.STREAM.NAMES"} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-denied:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Fatalf("%s: %v", subject, err)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("publishing to %s is allowed", subject)
		}
	}
}

func TestConfigReportsEveryField(t *testing.T) {
	err := Config{Storage: "tape", Sync: "never", HistoryEvents: -1, MaxBytes: 1, Listen: "x"}.Validate()
	for _, field := range []string{"Storage", "Sync", "HistoryEvents", "MaxBytes", "Listen"} {
		if err == nil || !strings.Contains(err.Error(), "bus."+field+" is ") {
			t.Errorf("%s is not reported: %v", field, err)
		}
	}
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
}

func BenchmarkPublishToLink(b *testing.B) {
	bus, err := Open(b.Context(), Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer bus.Close()
	l, err := bus.NewLink()
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	if err := l.Add(b.Context(), "bench"); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	came := make(chan struct{}, linkBatch)
	go func() {
		_ = l.Run(ctx, func(batch []*broker.Event) {
			for range batch {
				came <- struct{}{}
			}
		}, func() {})
	}()
	data := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bus.Publish(b.Context(), "bench", data, PublishOptions{}); err != nil {
			b.Fatal(err)
		}
		<-came
	}
}

func TestPatternIsLiveInAllShards(t *testing.T) {
	b := open(t, Config{})
	l := link(t, b)
	old := publish(t, b, "p.old", "before")
	if err := l.Add(t.Context(), "p.*"); err != nil {
		t.Fatal(err)
	}
	heads, err := l.Heads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, head := range heads {
		if want := i == broker.Topic("p.old").Shard(); want && head != old || !want && !head.IsZero() {
			t.Errorf("shard %d is at %v", i, head)
		}
	}
	want := map[broker.Topic]broker.Position{}
	for i := range 50 { // most in shards that did not exist
		topic := broker.Topic(fmt.Sprint("p.", i))
		want[topic] = publish(t, b, topic, "x")
		publish(t, b, topic+".more", "not of the pattern")
	}
	for _, ev := range collect(t, l, len(want)) {
		if want[ev.Topic] != ev.Position || ev.Position.Epoch == 0 {
			t.Errorf("%s came at %v, published at %v", ev.Topic, ev.Position, want[ev.Topic])
		}
		delete(want, ev.Topic)
	}
	if len(want) != 0 {
		t.Errorf("%v did not come", want)
	}
	l.Remove("p.*")
}
