package bus

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"weir/broker"
)

func TestSuspendedBusIsAnothersUntilItResumes(t *testing.T) {
	const topic = broker.Topic("a")
	cfg := Config{Dir: t.TempDir()}
	b := open(t, cfg)
	l := link(t, b)
	if err := l.Add(t.Context(), broker.Pattern(topic)); err != nil {
		t.Fatal(err)
	}
	first := publish(t, b, topic, "1")
	for range 2 {
		if err := b.Suspend(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Publish(t.Context(), topic, []byte("lost?"), PublishOptions{}); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("published to a suspended bus: %v", err)
		}
		other, err := Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if p := publish(t, other, topic, "by the other"); p.Epoch != first.Epoch || p.Offset <= first.Offset {
			t.Errorf("the other one stores at %v, after %v", p, first)
		}
		if err := b.Resume(t.Context()); err == nil {
			t.Error("resumed beside the other one")
		}
		other.Close()
		if err := b.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, b, topic, "3")
	rec, err := l.Replay(t.Context(), topic, first, 10)
	if err != nil || !rec.Recovered || len(rec.Events) != 3 {
		t.Fatalf("after it: %+v, %v", rec, err)
	}
	// What is live goes on too; a link that was away says that something may be missing.
	lost := false
	ctx, cancel := context.WithCancel(t.Context())
	err = l.Run(ctx, func(batch []*broker.Event) {
		if string(batch[len(batch)-1].Data) == "3" {
			cancel()
		}
	}, func() { lost = true })
	if err != nil || !lost {
		t.Errorf("live after it: %v, lost told: %v", err, lost)
	}
}

func TestBusInMemoryIsNotSuspended(t *testing.T) {
	b := open(t, Config{})
	if err := b.Suspend(); !errors.Is(err, ErrInMemory) {
		t.Errorf("suspended: %v", err)
	}
	publish(t, b, "a", "still there")
}
