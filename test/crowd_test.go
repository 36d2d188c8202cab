package test

import (
	"context"
	"fmt"
	"sync"
	"testing"
)

// crowd is clients that resume, each of two topics of chaosTopics or of all by a pattern, and a publisher of
// each topic.
type crowd struct {
	t         *testing.T
	clients   []*resumer
	published []uint64 // by topic, once the publishers have ended
	stop      func()   // ends them, and waits
}

// crowdPatterns stand for all topics of a crowd.
var crowdPatterns = []string{"crowd.*", "crowd.>", ">"}

func crowdTopic(i int) string { return fmt.Sprintf("crowd.%d", i%chaosTopics) }

// startCrowd returns when all clients know their places and events are published, by any of the admins. So
// many clients more have a pattern.
func startCrowd(t *testing.T, edges []string, clients, patterns int, admins []string) *crowd {
	t.Helper()
	c := &crowd{t: t, clients: make([]*resumer, clients+patterns), published: make([]uint64, chaosTopics)}
	ctx, cancel := context.WithCancel(t.Context())
	var running, publishers sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(publishers.Wait)
	t.Cleanup(cancel)
	for i := range c.clients {
		topics := []string{crowdTopic(i), crowdTopic(i + 7)}
		if i >= clients {
			topics = []string{crowdPatterns[i%len(crowdPatterns)]}
		}
		c.clients[i] = newResumer(edges, topics...)
		running.Go(func() { c.clients[i].run(ctx) })
	}
	awaitAll(t, c.clients, "its places", func(r *resumer) string {
		if !r.placed() {
			return "not subscribed"
		}
		return ""
	})
	publishing, stop := context.WithCancel(ctx)
	for i := range c.published {
		publishers.Go(func() { c.published[i] = publishUntil(publishing, t, admins, crowdTopic(i)) })
	}
	c.stop = func() {
		stop()
		publishers.Wait()
	}
	return c
}

// check ends the publishers, and holds each client to have had every event of its topics once, in order, and
// to have been told that none is missing. It returns how many events there were.
func (c *crowd) check() (events uint64) {
	c.t.Helper()
	c.stop()
	want := map[string]uint64{}
	for i, n := range c.published {
		want[crowdTopic(i)] = n
		events += n
	}
	awaitAll(c.t, c.clients, "all events", func(r *resumer) string { return r.lacks(want) })
	for i, r := range c.clients {
		for _, w := range r.wrong {
			c.t.Errorf("client %d: %s", i, w)
		}
	}
	return events
}
