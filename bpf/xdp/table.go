package xdp

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"
)

// Client is a client in the table.
type Client struct {
	// Key is the client's in the table; an [Escalation] of it has the same.
	Key uint64
	// Identity is the name of an identity, its first 16 bytes; empty: the client is its prefix.
	Identity string
	// Prefix is the source: an address's slot is as wide as Config's prefix bits, an aggregate's
	// or a wide class's client's wider. Of an identity it is not valid.
	Prefix netip.Prefix
	// Packets were seen since its slot was taken, Dropped of them were refused, Spared of those
	// passed in ModeShadow.
	Packets, Dropped, Spared uint64
	// Class is an index of Policy.Classes.
	Class int
	// Allowed says that no quota holds for it, Denied that nothing of it passes.
	Allowed, Denied bool
	// Connections it holds, and HalfOpen SYNs that passed and have not become one yet.
	Connections, HalfOpen int
	// Reason is that of the last packet refused, if Dropped is not 0.
	Reason Reason
	// SeenNanos is when its last packet came, nanoseconds of CLOCK_MONOTONIC.
	SeenNanos uint64
	// PacketTAT, ByteTAT and ConnectionTAT are theoretical arrival times, ticks of 1/16 ns of
	// CLOCK_MONOTONIC: one that is past owes nothing.
	PacketTAT, ByteTAT, ConnectionTAT uint64
	// Epoch is the policy's when class and lists were last asked.
	Epoch uint32
}

// Offsets within a slot and a set of bpf/include/abi.h, held to it by a test.
const (
	slotBytes     = 64
	offSpared     = 32
	offSlot       = 64
	offAddr       = offSlot + slotsPerSet*slotBytes
	offByteTAT    = 8
	offConnTAT    = 16
	offHeld       = 24
	offEpoch      = 32
	offClass      = 36
	offFlags      = 37
	offReason     = 38
	offBits       = 39
	offSeen       = 40
	offPackets    = 48
	offDropped    = 56
	readBatchSets = 256 // sets of the table read at a time
)

// Slots is the number of clients the table holds.
func (p *Program) Slots() int { return p.cfg.Slots }

// Clients are all clients in the table, in no order, read from its memory as it stands without
// stopping the program and without a system call: a client's counters may be a packet apart. It
// ends early if the program is closed meanwhile.
func (p *Program) Clients() iter.Seq[Client] {
	return func(yield func(Client) bool) {
		buf := make([]byte, readBatchSets*setBytes)
		size := int64(p.cfg.Slots / slotsPerSet * setBytes)
		for at := int64(0); at < size; at += int64(len(buf)) {
			part := buf[:min(int64(len(buf)), size-at)]
			if p.readTable(part, at) != nil {
				return
			}
			for ; len(part) >= setBytes; part = part[setBytes:] {
				for i := range slotsPerSet {
					if binary.LittleEndian.Uint64(part[8*i:])&takenBit == 0 {
						continue
					}
					if !yield(decodeClient(part[:setBytes], i)) {
						return
					}
				}
			}
		}
	}
}

// readTable reads from the table's memory.
func (p *Program) readTable(into []byte, at int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open("read the table of clients"); err != nil {
		return err
	}
	if _, err := p.table.ReadAt(into, at); err != nil {
		return fmt.Errorf("read the table of clients: %w", err)
	}
	return nil
}

// decodeClient is the client in a slot of a set.
func decodeClient(set []byte, i int) Client {
	s := set[offSlot+i*slotBytes:][:slotBytes]
	addr, bits := netip.AddrFrom16([16]byte(set[offAddr+16*i:])), int(s[offBits])
	if addr.Is4In6() {
		addr = addr.Unmap()
	}
	prefix, identity := netip.PrefixFrom(addr, bits), ""
	if bits == slotIdentity {
		prefix, identity = netip.Prefix{}, text(set[offAddr+16*i:][:16])
	}
	held := binary.LittleEndian.Uint64(s[offHeld:])
	return Client{
		Key:           binary.LittleEndian.Uint64(set[8*i:]),
		Identity:      identity,
		Prefix:        prefix,
		Packets:       binary.LittleEndian.Uint64(s[offPackets:]),
		Dropped:       binary.LittleEndian.Uint64(s[offDropped:]),
		Spared:        binary.LittleEndian.Uint64(set[offSpared+8*i:]),
		Class:         int(s[offClass]),
		Allowed:       s[offFlags]&slotAllowed != 0,
		Denied:        s[offFlags]&slotDenied != 0,
		Connections:   int(held & heldOpenMask),                                                //nolint:gosec // 24 bits
		HalfOpen:      int(held>>heldNowShift&heldHalfMask + held>>heldPrevShift&heldHalfMask), //nolint:gosec // 17 bits
		Reason:        Reason(s[offReason]),
		SeenNanos:     binary.LittleEndian.Uint64(s[offSeen:]),
		PacketTAT:     binary.LittleEndian.Uint64(s),
		ByteTAT:       binary.LittleEndian.Uint64(s[offByteTAT:]),
		ConnectionTAT: binary.LittleEndian.Uint64(s[offConnTAT:]),
		Epoch:         binary.LittleEndian.Uint32(s[offEpoch:]),
	}
}

// Order says what Top ranks clients by.
type Order func(a, b Client) int

// The orders: most first.
var (
	ByPackets     Order = func(a, b Client) int { return cmp.Compare(b.Packets, a.Packets) }
	ByDropped     Order = func(a, b Client) int { return cmp.Compare(b.Dropped, a.Dropped) }
	ByConnections Order = func(a, b Client) int { return cmp.Compare(b.Connections, a.Connections) }
)

// topSlack is how many clients more than twice those wanted are held before they are sorted.
const topSlack = 1024

// Top is the first n clients in an order, and how many there are in all.
func (p *Program) Top(n int, by Order) (top []Client, used int, err error) {
	p.mu.Lock()
	err = p.open("read the table of clients")
	p.mu.Unlock()
	if err != nil {
		return nil, 0, err
	}
	for c := range p.Clients() {
		used++
		if top = append(top, c); len(top) >= 2*n+topSlack {
			slices.SortFunc(top, by)
			top = top[:n]
		}
	}
	slices.SortFunc(top, by)
	top = top[:min(n, len(top))]
	return top, used, nil
}

// Find are the slots that an address is charged to: its own, its class's client's if that is
// wider, its aggregate's. Empty: it has none, since it has not proved its return path or owes
// nothing and was evicted.
func (p *Program) Find(a netip.Addr) []Client {
	var all []Client
	for c := range p.Clients() {
		if c.Prefix.Contains(a.Unmap()) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Client) int { return cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()) })
	return all
}

// FindIdentity is the slot of an identity, and whether it has one: who owes nothing and has been away may
// have lost it to another.
func (p *Program) FindIdentity(identity string) (c Client, found bool) {
	key := p.identityKey(identity)
	set := make([]byte, setBytes)
	at := key & uint64(p.cfg.Slots/slotsPerSet-1) * setBytes //nolint:gosec // validated
	if p.readTable(set, int64(at)) != nil {                  //nolint:gosec // within the table
		return Client{}, false
	}
	for i := range slotsPerSet {
		if binary.LittleEndian.Uint64(set[8*i:]) == key {
			return decodeClient(set, i), true
		}
	}
	return Client{}, false
}

// ticksPerNano is 1 << TICK_SHIFT of bpf/include/abi.h.
const ticksPerNano = 16

// Left is how many of a quota a client with that arrival time has left at now, nanoseconds of
// CLOCK_MONOTONIC, and how long until the next one passes: 0 if it would now.
func (q Quota) Left(tat, now uint64) (left uint64, wait time.Duration) {
	return remaining(tat, now*ticksPerNano, q.Interval, q.Limit)
}

// Left is [Quota.Left] in bytes; wait is until a full frame of 1522 bytes passes.
func (q ByteQuota) Left(tat, now uint64) (left uint64, wait time.Duration) {
	if q.Mult == 0 {
		return 0, 0
	}
	n := now * ticksPerNano
	if ahead := max(tat, n) - n; ahead < q.Limit {
		perByte := float64(q.Mult) / float64(uint64(1)<<q.Shift)
		left = uint64(float64(q.Limit-ahead) / perByte)
	}
	_, wait = remaining(tat, n, 1522*q.Mult>>q.Shift, q.Limit)
	return left, wait
}

func remaining(tat, now, interval, limit uint64) (left uint64, wait time.Duration) {
	if interval == 0 {
		return 0, 0
	}
	ahead := max(tat, now) - now
	if ahead < limit {
		left = (limit - ahead) / interval
	}
	if left == 0 && ahead+interval > limit {
		wait = time.Duration((ahead + interval - limit + ticksPerNano - 1) / ticksPerNano) //nolint:gosec // a year at most
	}
	return left, wait
}
