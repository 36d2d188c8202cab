package admit

import (
	"hash/maphash"
	"sync"
)

// Identities bounds the conns that each identity holds at once. Its methods may be called from any goroutine.
type Identities struct {
	most   uint32 // 0: no bound
	seed   maphash.Seed
	shards [shards]identityShard
}

type identityShard struct {
	mu sync.Mutex
	// conns are those held of each identity. One that holds none has no entry: the map is bounded by the conns
	// that the edge may hold.
	conns map[string]uint32
	_     [64]byte // keeps shards on cache lines of their own
}

// NewIdentities lets each identity hold so many conns; 0: as many as it likes.
func NewIdentities(most int) *Identities {
	i := &Identities{most: uint32(max(most, 0)), seed: maphash.MakeSeed()} //nolint:gosec // bounded by the edge's Config
	for n := range i.shards {
		i.shards[n].conns = map[string]uint32{}
	}
	return i
}

// Admit counts a conn of an identity, until Release, and reports whether it may have one more.
func (i *Identities) Admit(identity string) bool { return i.count(identity, i.most) }

// Adopt counts a conn of an identity that was admitted elsewhere. It may be one too many.
func (i *Identities) Adopt(identity string) { i.count(identity, 1<<32-1) }

func (i *Identities) count(identity string, most uint32) bool {
	if i.most == 0 {
		return true
	}
	s := i.shardOf(identity)
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.conns[identity]
	if held >= most {
		return false
	}
	s.conns[identity] = held + 1
	return true
}

// Release gives back the place of a conn that was admitted or adopted, once.
func (i *Identities) Release(identity string) {
	if i.most == 0 {
		return
	}
	s := i.shardOf(identity)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch held := s.conns[identity]; held {
	case 0:
		panic("admit: a conn of an identity is released that was not admitted")
	case 1:
		delete(s.conns, identity)
	default:
		s.conns[identity] = held - 1
	}
}

// Held is how many identities hold a conn; 0 without a bound.
func (i *Identities) Held() (n int) {
	for k := range i.shards {
		s := &i.shards[k]
		s.mu.Lock()
		n += len(s.conns)
		s.mu.Unlock()
	}
	return n
}

func (i *Identities) shardOf(identity string) *identityShard {
	return &i.shards[maphash.String(i.seed, identity)%shards]
}
