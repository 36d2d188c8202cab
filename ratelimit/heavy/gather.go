package heavy

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// gatherSlots is how many clients a Gather has at a time, a power of two.
	gatherSlots = 64
	// gatherName bounds the names that it takes; longer ones are passed on at once.
	gatherName = 72
	// gatherMost and gatherTime bound what it keeps back of a client: so many requests, of so long.
	gatherMost = 256
	gatherTime = time.Second
)

// Gather adds to a [Top] what the last few clients have cost, many requests at a time: event loops each have one, and so do not
// wait for each other at a client that all of them serve. [Gather.Flush] is to be called before the Top is looked at.
type Gather struct {
	top *Top

	mu    sync.Mutex // who flushes is another goroutine
	slots [gatherSlots]gathered
}

// gathered is what is kept back of a client; no requests for none.
type gathered struct {
	use         Use
	first, last time.Time
	length      uint8
	name        [gatherName]byte
}

// Gather returns one that adds to t.
func (t *Top) Gather() *Gather { return &Gather{top: t} }

// Add is [Top.Add], sooner or later. It allocates nothing.
func (g *Gather) Add(now time.Time, name []byte, u Use) {
	u.Requests = max(u.Requests, 1)
	if len(name) > gatherName {
		g.top.Add(now, name, u)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s := &g.slots[maphash.Bytes(g.top.seed, name)%gatherSlots]
	if s.use.Requests > 0 && string(s.name[:s.length]) != string(name) {
		g.pass(s)
	}
	if s.use.Requests == 0 {
		s.length = uint8(copy(s.name[:], name)) //nolint:gosec // at most gatherName
		s.first = now
	}
	s.last = now
	s.use.Requests += u.Requests
	s.use.Limited += u.Limited
	s.use.Bytes += u.Bytes
	s.use.Upstream += max(u.Upstream, 0)
	if s.use.Requests >= gatherMost || now.Sub(s.first) >= gatherTime {
		g.pass(s)
	}
}

// Flush adds what is kept back.
func (g *Gather) Flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.slots {
		if s := &g.slots[i]; s.use.Requests > 0 {
			g.pass(s)
		}
	}
}

func (g *Gather) pass(s *gathered) {
	g.top.Add(s.last, s.name[:s.length], s.use)
	s.use = Use{}
}
