package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"weir/broker"

	"github.com/nats-io/nats.go"
)

const testSecret = "a-secret-of-this-test"

// join opens the bus of another one.
func join(t *testing.T, address, secret string) *Bus {
	t.Helper()
	return open(t, Config{Servers: []string{"nats://" + address}, Secret: secret})
}

// until polls f.
func until(t *testing.T, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(5 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func TestBusOfAnotherProcessIsUsedAsOnesOwn(t *testing.T) {
	own := open(t, Config{Listen: "127.0.0.1:0", Secret: testSecret})
	b := join(t, own.ListenAddr().String(), testSecret)
	l := link(t, b)
	if err := l.Add(t.Context(), "a"); err != nil { // the first use of the shard, by whom has no limits
		t.Fatal(err)
	}
	p1, p2 := publish(t, b, "a", "1"), publish(t, own, "a", "2")
	got := collect(t, l, 2)
	if got[0].Position != p1 || got[1].Position != p2 || p1.Epoch != p2.Epoch || got[1].Prev != p1.Offset {
		t.Errorf("got %+v %+v, published at %v %v", got[0], got[1], p1, p2)
	}
	rec, err := l.Replay(t.Context(), "a", p1, 10)
	if err != nil || !rec.Recovered || len(rec.Events) != 1 || rec.Head != p2 {
		t.Errorf("replay: %+v, %v", rec, err)
	}
	if err := b.Up(); err != nil {
		t.Error(err)
	}
	b.cfg.MaxEventBytes = 1 << 20 // more than the broker takes
	if _, err := b.Publish(t.Context(), "a", make([]byte, own.Config().MaxEventBytes+eventOverheadBytes), PublishOptions{}); !errors.Is(err, broker.ErrTooLarge) {
		t.Errorf("an event that the broker does not take: %v", err)
	}
}

func TestBrokerWithoutThisSecretIsAnErrorThatSaysSo(t *testing.T) {
	for _, secret := range []string{"", testSecret} {
		own := open(t, Config{Listen: "127.0.0.1:0", Secret: secret})
		_, err := Open(t.Context(), Config{Servers: []string{"nats://" + own.ListenAddr().String()}, Secret: "another" + testSecret}, slog.New(slog.DiscardHandler))
		if !errors.Is(err, ErrSecret) || !strings.Contains(err.Error(), "set the same on the broker and on its edges") || strings.Contains(err.Error(), testSecret) {
			t.Errorf("got %v", err)
		}
	}
}

func TestGuestsMayNotOpenShards(t *testing.T) {
	own := open(t, Config{Listen: "127.0.0.1:0", Secret: testSecret})
	denied := make(chan error, 1)
	nc, err := nats.Connect("nats://"+own.ListenAddr().String(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish(openPrefix+"1", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-denied:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("they may")
	}
}

// TestLinkOutlivesItsBroker has the broker go away and come back at the same address, with what it
// stored or, in memory, without.
func TestLinkOutlivesItsBroker(t *testing.T) {
	for _, storage := range []Storage{File, Memory} {
		t.Run(string(storage), func(t *testing.T) {
			cfg := Config{Listen: freeAddress(t), Secret: testSecret}
			if storage == File {
				cfg.Dir = t.TempDir()
			}
			own := open(t, cfg)
			b := join(t, cfg.Listen, testSecret)
			l := link(t, b)
			if err := l.Add(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			first := publish(t, b, "a", "1")
			seen, lost := run(t, l)
			until(t, "the first event", func() error { return want(seen(), fmt.Sprint(first, " 1;")) })
			losses := lost()
			own.Close()
			until(t, "the link is down", func() error {
				if b.Up() == nil {
					return errors.New("it is up")
				}
				return nil
			})
			start := time.Now()
			for what, call := range map[string]func() error{
				"publish": func() error { _, err := b.Publish(t.Context(), "a", nil, PublishOptions{}); return err },
				"add":     func() error { return l.Add(t.Context(), "b") },
				"replay":  func() error { _, err := l.Replay(t.Context(), "a", first, 1); return err },
				"head":    func() error { _, err := l.Head(t.Context(), "a"); return err },
			} {
				if err := call(); !errors.Is(err, broker.ErrUnavailable) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("that took %v to be said", d)
			}
			own = open(t, cfg)
			until(t, "the link is up", b.Up)
			until(t, "the loss is said", func() error {
				if lost() != losses+1 {
					return fmt.Errorf("%d times", lost())
				}
				return nil
			})
			var rec broker.Recovery
			until(t, "a replay", func() (err error) {
				rec, err = l.Replay(t.Context(), "a", first, 10)
				return err
			})
			if same := rec.Head.Epoch == first.Epoch; same != (storage == File) || rec.Recovered != same {
				t.Errorf("the stream stands at %+v after %v", rec, first)
			}
			second := publish(t, own, "a", "2")
			until(t, "the next event, in its epoch", func() error {
				return want(seen(), fmt.Sprint(first, " 1;", second, " 2;"))
			})
			until(t, "a publish", func() error {
				p, err := b.Publish(t.Context(), "a", []byte("3"), PublishOptions{})
				if err == nil && p.Epoch != second.Epoch {
					t.Errorf("published at %v after %v", p, second)
				}
				return err
			})
		})
	}
}

func TestBrokerMayComeAfterItsEdges(t *testing.T) {
	address := freeAddress(t)
	b := join(t, address, testSecret)
	if err := b.Up(); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	open(t, Config{Listen: address, Secret: testSecret})
	until(t, "the link is up", b.Up)
	publish(t, b, "a", "1")
}

func want(got, want string) error {
	if got != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

// run runs a link and writes down what comes, and how often something may be missing.
func run(t *testing.T, l *Link) (seen func() string, lost func() int) {
	t.Helper()
	type state struct {
		text string
		lost int
	}
	now := make(chan state, 1)
	now <- state{}
	change := func(f func(*state)) state {
		s := <-now
		f(&s)
		now <- s
		return s
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Run(ctx, func(batch []*broker.Event) {
			change(func(s *state) {
				for _, ev := range batch {
					s.text += fmt.Sprintf("%v %s;", ev.Position, ev.Data)
				}
			})
		}, func() { change(func(s *state) { s.lost++ }) })
	}()
	t.Cleanup(func() { cancel(); <-done })
	read := func(*state) {}
	return func() string { return change(read).text }, func() int { return change(read).lost }
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.2:0") // no conn begins there, and takes the port meanwhile
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // it was never used
	return ln.Addr().String()
}

func TestPatternTakesInShardsThatAreMadeElsewhere(t *testing.T) {
	b := open(t, Config{Listen: "127.0.0.1:0", Secret: testSecret})
	l := link(t, join(t, b.ListenAddr().String(), testSecret))
	if err := l.Add(t.Context(), "p.>"); err != nil {
		t.Fatal(err)
	}
	want := map[broker.Topic]broker.Position{}
	for i := range 20 { // of shards that this process has not read
		topic := broker.Topic(fmt.Sprintf("p.%d", i))
		want[topic] = publish(t, b, topic, "x")
	}
	for _, ev := range collect(t, l, len(want)) {
		if ev.Position != want[ev.Topic] {
			t.Errorf("%s came at %v, was stored at %v", ev.Topic, ev.Position, want[ev.Topic])
		}
	}
}

func TestABusWithoutGuestsLetsInWhoHasTheSecretAlone(t *testing.T) {
	own := open(t, Config{Listen: "127.0.0.1:0", Secret: testSecret, NoGuests: true})
	at := "nats://" + own.ListenAddr().String()
	for _, options := range [][]nats.Option{nil, {nats.UserInfo("guest", "")}, {nats.UserInfo(busUser, "another secret")}} {
		if nc, err := nats.Connect(at, append(options, nats.NoReconnect())...); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("let in: %v, %v", nc, err)
		}
	}
	b := join(t, own.ListenAddr().String(), testSecret)
	publish(t, b, "a", "1")
}
