package escalate

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"time"
)

const (
	// ways is how many clients a set holds: each set keeps those of its clients that are refused the most.
	ways = 8
	// locks is how many there are for all sets, a power of two.
	locks = 64
	// nameBytes is how much of a client's name is kept.
	nameBytes = 64
)

// Table is who was refused lately. Its methods may be called from any goroutine, and allocate nothing but what
// [Table.Offenders] returns. Times are nanoseconds of one clock that does not go back.
type Table struct {
	cfg     Config
	seed    maphash.Seed
	sets    [][ways]offender
	times   []uint64 // of refusals: a ring of Threshold for each offender
	admits  []uint64 // how many requests were admitted before each of those; nil without Share
	shards  [locks]shard
	setMask uint64
}

// shard is the lock of some sets, and what happened in them.
type shard struct {
	mu    sync.Mutex
	stats Stats
	_     [64]byte // keeps shards on cache lines of their own
}

// offender is a client of a policy.
type offender struct {
	hash uint64 // 0: there is none
	// weight is how often it was refused, halved with each window that passed since weighed. Whoever takes the
	// place of another begins with that one's: it cannot be told from who was there all the time (Metwally,
	// Agrawal and El Abbadi 2005), and is not the next one to go.
	weight, weighed uint64
	admitted        uint64
	until           uint64 // when its escalation ends or ended, 0 if there was none
	busy            uint64 // when it was last refused CalmBelow times within a window
	level           uint32 // escalations since it was forgotten
	seen            uint32 // refusals in its ring, Threshold at most
	at              uint32 // where in the ring the next one goes
	named           uint8  // bytes of its name
	name            [nameBytes]byte
	policy          string
}

// Stats counts what a [Table] did.
type Stats struct {
	// Escalated is how often a client was; Displaced how often one was forgotten for another, for want of room.
	Escalated, Displaced uint64
}

// New makes a Table. The error is that of [Config.Validate].
func New(cfg Config) (*Table, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	sets := 1 << bits.Len(uint((cfg.Offenders-1)/ways))                                                            //nolint:gosec // Validate bounds it
	t := &Table{cfg: cfg, seed: maphash.MakeSeed(), sets: make([][ways]offender, sets), setMask: uint64(sets - 1)} //nolint:gosec // positive
	t.times = make([]uint64, sets*ways*cfg.Threshold)
	if cfg.Share > 0 {
		t.admits = make([]uint64, len(t.times))
	}
	return t, nil
}

// Refused notes that a client's request was refused by a policy at now, and says whether the client is to be
// escalated, and until when: once for each escalation. client are the bytes by which the policy tells clients
// apart, lent for the call; policy is kept.
func (t *Table) Refused(now uint64, client []byte, policy string) (until uint64, escalate bool) {
	hash := t.hash(client, policy)
	sh := t.lock(hash)
	defer sh.mu.Unlock()
	set := hash & t.setMask
	way := t.find(set, hash)
	if way < 0 {
		way = t.take(sh, set, hash, now)
	}
	o := &t.sets[set][way]
	o.policy = policy
	t.weigh(o, now)
	o.weight++
	t.forget(o, now)
	ring := (int(set)*ways + way) * t.cfg.Threshold //nolint:gosec // within times
	t.note(o, ring, now)
	if t.within(o, ring, t.cfg.CalmBelow, now) {
		o.busy = now
	}
	if o.named == 0 && int(o.seen) >= (t.cfg.Threshold+1)/2 {
		o.named = uint8(copy(o.name[:], client)) //nolint:gosec // nameBytes at most
	}
	if now < o.until || !t.within(o, ring, t.cfg.Threshold, now) || !t.isShare(o, ring) {
		return 0, false
	}
	o.until = now + t.hold(o.level)
	o.level++
	o.seen, o.at = 0, 0 // what it is escalated for counts once
	sh.stats.Escalated++
	return o.until, true
}

// Admitted notes that a client's request was admitted. Without [Config.Share] it does nothing.
func (t *Table) Admitted(client []byte, policy string) {
	if t.admits == nil {
		return
	}
	hash := t.hash(client, policy)
	sh := t.lock(hash)
	defer sh.mu.Unlock()
	if way := t.find(hash&t.setMask, hash); way >= 0 {
		t.sets[hash&t.setMask][way].admitted++
	}
}

// hash is that of a client under a policy, never 0.
func (t *Table) hash(client []byte, policy string) uint64 {
	return max(maphash.Bytes(t.seed, client)^bits.RotateLeft64(maphash.String(t.seed, policy), 31), 1)
}

// lock is the shard of a hash, locked.
func (t *Table) lock(hash uint64) *shard {
	sh := &t.shards[hash&t.setMask&(locks-1)]
	sh.mu.Lock()
	return sh
}

func (t *Table) find(set, hash uint64) int {
	for way := range t.sets[set] {
		if t.sets[set][way].hash == hash {
			return way
		}
	}
	return -1
}

// take gives a client the place of nobody, else of who was refused the least of those who were never escalated, or
// were forgotten; else of who was escalated the least.
func (t *Table) take(sh *shard, set, hash, now uint64) int {
	least := 0
	for way := range t.sets[set] {
		o := &t.sets[set][way]
		if o.hash == 0 {
			least = way
			break
		}
		t.weigh(o, now)
		t.forget(o, now)
		if m := &t.sets[set][least]; o.level < m.level || o.level == m.level && o.weight < m.weight {
			least = way
		}
	}
	o := &t.sets[set][least]
	if o.hash != 0 {
		sh.stats.Displaced++
	}
	*o = offender{hash: hash, weight: o.weight, weighed: now}
	return least
}

// weigh brings a weight up to now.
func (t *Table) weigh(o *offender, now uint64) {
	window := uint64(t.cfg.Window) //nolint:gosec // positive
	if passed := (now - min(o.weighed, now)) / window; passed > 0 {
		o.weight >>= min(passed, 63)
		o.weighed += passed * window
	}
}

// forget has the next escalation of who was calm for long enough be a first one.
func (t *Table) forget(o *offender, now uint64) {
	if now >= max(o.until, o.busy)+uint64(t.cfg.CalmFor) { //nolint:gosec // positive
		o.level = 0
	}
}

// note puts a refusal into an offender's ring.
func (t *Table) note(o *offender, ring int, now uint64) {
	t.times[ring+int(o.at)] = now
	if t.admits != nil {
		t.admits[ring+int(o.at)] = o.admitted
	}
	o.at++
	if int(o.at) == t.cfg.Threshold {
		o.at = 0
	}
	o.seen = min(o.seen+1, uint32(t.cfg.Threshold)) //nolint:gosec // Validate bounds it
}

// ago is where in the ring the refusal is that so many, 1 to Threshold, are behind, itself included.
func (t *Table) ago(o *offender, ring, n int) int {
	return ring + (int(o.at)+t.cfg.Threshold-n)%t.cfg.Threshold
}

// within reports whether the last n refusals were within a window.
func (t *Table) within(o *offender, ring, n int, now uint64) bool {
	return int(o.seen) >= n && now-min(t.times[t.ago(o, ring, n)], now) < uint64(t.cfg.Window) //nolint:gosec // positive
}

// isShare reports whether as many of its requests were refused as it takes, since the first refusal of a full ring.
func (t *Table) isShare(o *offender, ring int) bool {
	if t.admits == nil {
		return true
	}
	refused := uint64(t.cfg.Threshold) //nolint:gosec // positive
	requests := refused + o.admitted - t.admits[t.ago(o, ring, t.cfg.Threshold)]
	return 100*refused >= uint64(t.cfg.Share)*requests //nolint:gosec // positive
}

// hold is how long an escalation lasts that comes after so many.
func (t *Table) hold(level uint32) uint64 {
	hold := t.cfg.Hold
	for ; level > 0 && hold < t.cfg.MaxHold && t.cfg.Factor > 1; level-- {
		hold *= time.Duration(t.cfg.Factor)
	}
	return uint64(min(hold, t.cfg.MaxHold)) //nolint:gosec // positive
}

// Offender is a client that is escalated, or was refused half as often as it takes.
type Offender struct {
	// Client are the first 64 bytes of what tells it apart.
	Client, Policy string
	// Refused is how often it was within the last window, Threshold at most.
	Refused int
	// Until is when its escalation ends or ended, 0 if there was none; Escalations is how many there were since it
	// was forgotten last.
	Until       uint64
	Escalations int
}

// Offenders are those that are known at now by name.
func (t *Table) Offenders(now uint64) (all []Offender) {
	for set := range t.sets {
		sh := &t.shards[uint64(set)&(locks-1)] //nolint:gosec // positive
		sh.mu.Lock()
		for way := range t.sets[set] {
			if o := &t.sets[set][way]; o.named > 0 {
				all = append(all, t.describe(o, (set*ways+way)*t.cfg.Threshold, now))
			}
		}
		sh.mu.Unlock()
	}
	return all
}

func (t *Table) describe(o *offender, ring int, now uint64) Offender {
	t.forget(o, now)
	is := Offender{Client: string(o.name[:o.named]), Policy: o.policy, Until: o.until, Escalations: int(o.level)}
	for is.Refused < int(o.seen) && t.within(o, ring, is.Refused+1, now) {
		is.Refused++
	}
	return is
}

// Stats is what was counted so far.
func (t *Table) Stats() (s Stats) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		s.Escalated += sh.stats.Escalated
		s.Displaced += sh.stats.Displaced
		sh.mu.Unlock()
	}
	return s
}
