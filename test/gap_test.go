package test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/broker"
	"weir/broker/bus"
	"weir/broker/region"
)

// lossy is a link that loses most of what comes, as one does that falls behind: sometimes it
// says so, sometimes only the next event tells.
type lossy struct {
	*bus.Link
	seen int
}

func (l *lossy) Run(ctx context.Context, events func([]*broker.Event), lost func()) error {
	return l.Link.Run(ctx, func(batch []*broker.Event) {
		for _, ev := range batch {
			if l.seen++; l.seen%5 == 0 {
				events([]*broker.Event{ev})
			}
			if l.seen%50 == 0 {
				lost()
			}
		}
	}, lost)
}

// sink writes down what a topic's subscribers would get.
type sink struct {
	mu  sync.Mutex
	got strings.Builder
}

func (s *sink) Deliver(batch []*broker.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range batch {
		fmt.Fprintf(&s.got, "%s ", ev.Data)
	}
}

func (s *sink) Reset(broker.Pattern, broker.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got.WriteString("reset ")
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String()
}

// runNode runs a bus and a node over it, until the test ends.
func runNode(t *testing.T, cfg bus.Config, source func(*bus.Link) region.Source, out region.Sink) (*bus.Bus, *region.Node) {
	t.Helper()
	b, err := bus.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	link, err := b.NewLink()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	node := region.New(source(link), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = node.Run(ctx, out)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return b, node
}

func TestLossOnTheLinkIsRepairedFromTheStream(t *testing.T) {
	var out sink
	b, node := runNode(t, bus.Config{HistoryEvents: 10_000}, func(l *bus.Link) region.Source { return &lossy{Link: l} }, &out)
	ctx := t.Context()
	if _, err := node.Subscribe(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for i := range 1000 {
		if _, err := b.Publish(ctx, "a", fmt.Append(nil, i), bus.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, "%d ", i)
	}
	for deadline := time.Now().Add(patience); out.String() != want.String(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %.300q…", out.String())
		}
	}
}
