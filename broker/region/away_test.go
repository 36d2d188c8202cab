package region

import (
	"errors"
	"sync"
	"testing"
	"time"

	"weir/broker"

	dto "github.com/prometheus/client_model/go"
)

// set changes the stream between two reads of it.
func (s *stream) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (r *rig) retries(t *testing.T) float64 {
	t.Helper()
	var m dto.Metric
	if err := r.node.counts.retries.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestGapOfAStreamThatIsAwayIsRepairedWhenItIsBack(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.src.live <- []*broker.Event{r.src.store(1)}
	r.src.store(1)
	r.src.set(func() { r.src.fail = errors.New("gone") })
	r.src.live <- []*broker.Event{r.src.store(1)}
	for deadline := time.Now().Add(10 * time.Second); r.retries(t) < 3; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it asks no more")
		}
	}
	r.src.live <- []*broker.Event{r.src.store(1)}
	r.want(t, "1")
	r.src.set(func() { r.src.fail = nil })
	r.want(t, "1 2 3 4")
}

func TestUnsubscribeEndsARepairThatWaits(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.src.set(func() { r.src.fail = errors.New("gone") })
	r.src.loss <- struct{}{}
	r.node.Unsubscribe(broker.Pattern(name))
	r.src.set(func() { r.src.fail = nil })
	if _, err := r.node.Subscribe(t.Context(), broker.Pattern(name)); err != nil {
		t.Fatal(err)
	}
	r.src.live <- []*broker.Event{r.src.store(1)}
	r.want(t, "1")
}

func TestLossWhileARepairReadsIsRepairedAgain(t *testing.T) {
	src := newStream()
	var once sync.Once
	src.reads = func() {
		once.Do(func() {
			src.store(1) // lost, and not in what was read
			src.loss <- struct{}{}
		})
	}
	r := start(t, src)
	defer r.stop()
	src.live <- []*broker.Event{src.store(1)}
	src.loss <- struct{}{}
	r.want(t, "1 2")
}

func TestLossWhileATopicOpensIsRepaired(t *testing.T) {
	src := newStream()
	src.heads = func() {
		src.store(1) // after the head was read: it is promised, and does not come
		src.loss <- struct{}{}
		src.loss <- struct{}{} // taken: the one before was handled
	}
	r := start(t, src)
	defer r.stop()
	r.want(t, "1")
}

func TestEventsHeldFromAnotherEpochAreNotHandedOn(t *testing.T) {
	src := newStream()
	r := start(t, src)
	defer r.stop()
	src.live <- []*broker.Event{src.store(10)}
	src.set(func() { src.fail = errors.New("gone") })
	src.loss <- struct{}{}
	src.live <- []*broker.Event{src.store(1)} // held
	src.set(func() {                          // made anew while it was away
		src.epoch, src.stored, src.fail = 8, nil, nil
	})
	src.store(2)
	r.want(t, "10 reset@2")
	src.live <- []*broker.Event{src.store(1)}
	r.want(t, "10 reset@2 3")
}
