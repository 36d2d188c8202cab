package region

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"weir/broker"
)

// TestSettleWaitsForTheRepairsOfPatterns: an event that is held is not delivered, so the node is not settled;
// of a topic that no pattern stands for it does not matter.
func TestSettleWaitsForTheRepairsOfPatterns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newStream())
		defer r.stop()
		r.subscribe(t, "m.*")
		settle := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return r.node.Settle(ctx, &broker.Heads{})
		}
		r.src.set(func() { r.src.fail = errors.New("gone") })
		gap := func(topic broker.Topic) {
			r.src.storeIn(topic, 1)
			r.src.live <- []*broker.Event{r.src.storeIn(topic, 1)}
			synctest.Wait()
		}
		gap(name)
		if err := settle(); err != nil {
			t.Errorf("a gap that is nobody's: %v", err)
		}
		gap("m.a")
		if err := settle(); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("settled with an event held: %v", err)
		}
		r.src.set(func() { r.src.fail = nil })
		if err := settle(); err != nil {
			t.Error(err)
		}
		r.wantSorted(t, []string{"1", "2", "3", "4"})
	})
}
