package region

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"weir/broker"

	"pgregory.net/rapid"
)

func TestPatternHasTheEventsOfItsTopicsOnce(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.src.storeIn("m.old", 1)
	r.subscribe(t, "m.*")
	r.subscribe(t, "m.>")
	r.subscribe(t, "m.a")
	a, b := r.src.storeIn("m.a", 1), r.src.storeIn("m.b", 2)
	other := r.src.storeIn("n.a", 1)
	r.src.live <- []*broker.Event{a, a, b, a, b, other, r.src.storeIn("m.old", 1)}
	r.want(t, "2 4 6")
	r.node.Unsubscribe("m.a") // the patterns still have it
	r.src.live <- []*broker.Event{r.src.storeIn("m.a", 1)}
	r.want(t, "2 4 6 7")
	r.node.Unsubscribe("m.*")
	r.node.Unsubscribe("m.>")
	r.src.live <- []*broker.Event{r.src.storeIn("m.a", 1), r.src.store(1)}
	r.want(t, "2 4 6 7 9")
}

func TestGapBeforeATopicIsFirstSeenIsRepaired(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.src.storeIn("m.a", 1) // before the pattern: nobody was promised it
	r.subscribe(t, "m.*")
	r.src.storeIn("m.a", 1)
	r.src.storeIn("m.b", 1)
	r.src.live <- []*broker.Event{r.src.storeIn("m.a", 1)}
	r.want(t, "2 4")
	r.src.live <- []*broker.Event{r.src.storeIn("m.b", 1)}
	r.want(t, "2 4 3 5")
}

func TestLossIsAResetOfPatternsAndRepairsWhatComes(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.subscribe(t, "m.*")
	r.src.live <- []*broker.Event{r.src.storeIn("m.a", 1)}
	r.src.storeIn("m.a", 1)
	r.src.storeIn("m.gone", 1) // nobody ever hears of it
	r.src.loss <- struct{}{}
	r.want(t, "1 reset m.*")
	r.src.live <- []*broker.Event{r.src.storeIn("m.a", 1)}
	r.want(t, "1 reset m.* 2 4")
}

func TestTopicThatIsSubscribedToGoesOnWhereAPatternHadIt(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.subscribe(t, "m.*")
	r.src.live <- []*broker.Event{r.src.storeIn("m.a", 1)}
	r.want(t, "1")
	r.src.storeIn("m.a", 1) // lost: the pattern was promised it
	r.subscribe(t, "m.a")
	r.src.live <- []*broker.Event{r.src.storeIn("m.a", 1)}
	r.want(t, "1 2 3")
	if _, err := r.node.Subscribe(t.Context(), "m.a"); err == nil {
		t.Error("a topic is subscribed to twice")
	}
	if _, err := r.node.Subscribe(t.Context(), "m.*"); err == nil {
		t.Error("a pattern is subscribed to twice")
	}
}

func TestPatternThatOpensWhileATopicDoesMissesNothing(t *testing.T) {
	src := newStream()
	var r *rig
	src.opening = func(topic broker.Topic) {
		if topic != "m.a" {
			return
		}
		r.subscribe(t, "m.*")
		src.live <- []*broker.Event{src.storeIn("m.a", 1)} // held, since m.a opens
		src.live <- []*broker.Event{src.storeIn("m.b", 1)} // the former was taken
		r.want(t, "2")
		src.head = 2
	}
	r = start(t, src)
	defer r.stop()
	r.subscribe(t, "m.a")
	r.want(t, "2 1")
	src.live <- []*broker.Event{src.storeIn("m.a", 1)}
	r.want(t, "2 1 3")
}

func TestWhatCameWhileNoPatternWasOpenIsNobodys(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.subscribe(t, "m.*")
	r.src.live <- []*broker.Event{r.src.storeIn("m.a", 1)}
	r.want(t, "1")
	r.node.Unsubscribe("m.*")
	r.src.storeIn("m.a", 1)
	r.subscribe(t, "m.>")
	r.src.live <- []*broker.Event{r.src.storeIn("m.a", 1)}
	r.want(t, "1 3")
}

func TestTopicsSeenThroughPatternsAreBounded(t *testing.T) {
	r := start(t, newStream())
	defer r.stop()
	r.subscribe(t, ">")
	const topics = maxSeen + 100
	next := func(round uint64) (batch []*broker.Event) {
		for i := range uint64(topics) {
			ev := &broker.Event{
				Topic:    broker.Topic(fmt.Sprint("m.", i)),
				Position: broker.Position{Epoch: epoch, Offset: round*topics + i + 1},
			}
			if round > 0 {
				ev.Prev = ev.Position.Offset - topics
			}
			batch = append(batch, ev)
		}
		return batch
	}
	for round := range uint64(2) {
		r.src.live <- next(round)
	}
	r.src.live <- nil // the last one was taken
	r.node.mu.Lock()
	seen, known := r.node.patterns.seen.Len(), len(r.node.topics)
	r.node.mu.Unlock()
	if seen != maxSeen || known != maxSeen+1 {
		t.Fatalf("%d topics are seen, %d known, of %d", seen, known, topics)
	}
	if n := strings.Count(r.out.String(), " ") + 1; n != 2*topics {
		t.Errorf("%d events were handed on, want %d: a topic that was forgotten comes again", n, 2*topics)
	}
}

// TestPatternsMissNothingInSilence has topics and patterns that cover them come and go while any event
// may be lost or come twice: an event of a topic that somebody was subscribed to is handed on once, in
// the order of its topic, at the latest when the topic's next one came.
func TestPatternsMissNothingInSilence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := start(t, newStream())
		defer r.stop()
		r.node.Unsubscribe(broker.Pattern(name))
		names := []broker.Pattern{"m.a", "m.b", "m.*", "m.>", "*.a"}
		open := map[broker.Pattern]bool{}
		var want []string
		topics := []broker.Topic{"m.a", "m.b", "n.a"}
		covered := func(t broker.Topic) bool {
			return slices.ContainsFunc(names, func(p broker.Pattern) bool { return open[p] && p.Matches(t) })
		}
		send := func(topic broker.Topic, fate int) {
			ev := r.src.storeIn(topic, 1)
			if covered(topic) {
				want = append(want, fmt.Sprint(ev.Position.Offset))
			}
			for range fate {
				r.src.live <- []*broker.Event{ev}
			}
		}
		settle := func() { // one more of each, so that what was lost shows
			for _, topic := range topics {
				send(topic, 1)
			}
			slices.Sort(want)
			r.wantSorted(t, want)
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			if p := rapid.SampledFrom(names).Draw(t, "name"); rapid.IntRange(0, 3).Draw(t, "what") > 0 {
				send(rapid.SampledFrom(topics).Draw(t, "topic"), rapid.IntRange(0, 2).Draw(t, "fate"))
			} else {
				settle() // what is lost when its subscription ends is nobody's
				if open[p] {
					r.node.Unsubscribe(p)
				} else {
					r.src.mu.Lock()
					r.src.head = r.src.newest()
					r.src.mu.Unlock()
					r.subscribe(t, p)
				}
				open[p] = !open[p]
			}
		}
		settle()
	})
}

// wantSorted waits until the sink got these offsets, in any order, but of one topic in theirs.
func (r *rig) wantSorted(t failer, want []string) {
	got := func() []string {
		r.out.mu.Lock()
		defer r.out.mu.Unlock()
		s := slices.Clone(r.out.log)
		slices.Sort(s)
		return s
	}
	r.until(t, func() bool { return slices.Equal(got(), want) }, func() string { return fmt.Sprintf("sink got %v, want %v", got(), want) })
}
