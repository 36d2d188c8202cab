package redis

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// shards is how many parts the leases are in: two decisions at once seldom meet.
	shards = 256
	// maxLeases is what Config.Leases may be.
	maxLeases = 1 << 20
	// maxKey bounds a client's key, bytes: one that is longer has no lease.
	maxKey = 256
	// lookedAt bounds the leases that are looked at for one to forget, when a shard is full.
	lookedAt = 8
)

// table is the leases, by policy and client. Its methods may be called from any goroutine.
type table struct {
	seed   maphash.Seed
	each   int // leases of a shard at most
	shards [shards]shard
}

// shard is the leases whose hash falls on it.
type shard struct {
	mu     sync.Mutex
	leases map[leaseKey]*lease
	order  []*lease // the same ones, for hand, which goes round
	hand   int
	cached uint64   // refusals without asking
	_      [64]byte // keeps shards on cache lines of their own
}

type leaseKey struct {
	policy *policy
	client string
}

// lock is the shard of a client, locked.
func (t *table) lock(p *policy, key []byte) *shard {
	sh := &t.shards[(maphash.Bytes(t.seed, key)^p.salt)%shards]
	sh.mu.Lock()
	return sh
}

// find is the lease of a client; nil if it has none.
func (sh *shard) find(p *policy, key []byte) *lease {
	return sh.leases[leaseKey{p, string(key)}]
}

// claim is the lease of a client, a new one if it has none; nil if there is no room.
func (t *table) claim(sh *shard, now time.Duration, p *policy, key []byte) *lease {
	if l := sh.find(p, key); l != nil {
		return l
	}
	if len(key) > maxKey {
		return nil
	}
	for range lookedAt {
		if len(sh.order) < t.each {
			break
		}
		if l := sh.next(); l.idle(now) {
			sh.drop(l)
		}
	}
	if len(sh.order) >= t.each {
		return nil
	}
	l := &lease{policy: p, key: string(key), home: sh, place: len(sh.order), used: now}
	if sh.leases == nil {
		sh.leases = make(map[leaseKey]*lease)
	}
	sh.leases[leaseKey{p, l.key}] = l
	sh.order = append(sh.order, l)
	return l
}

// next is the lease at the hand, which goes on. There is one.
func (sh *shard) next() *lease {
	sh.hand = (sh.hand + 1) % len(sh.order)
	return sh.order[sh.hand]
}

// drop forgets a lease. The last one takes its place.
func (sh *shard) drop(l *lease) {
	delete(sh.leases, leaseKey{l.policy, l.key})
	end := len(sh.order) - 1
	last := sh.order[end]
	sh.order[l.place], last.place = last, l.place
	sh.order[end] = nil
	sh.order = sh.order[:end]
}
