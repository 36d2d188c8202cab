package xdp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sort"
)

// Count is packets and bytes.
type Count struct{ Packets, Bytes uint64 }

// Stats are the program's counters since it was loaded, summed over CPUs.
type Stats struct {
	// Passed and Dropped are indexed by Reason. In ModeShadow what would be dropped is in
	// Passed, under its reason.
	Passed, Dropped [reasonCount]Count
}

// Stats reads the counters.
func (p *Program) Stats() (Stats, error) {
	var s Stats
	err := p.StatsInto(&s)
	return s, err
}

// StatsInto is [Program.Stats] into memory that the caller reuses.
func (p *Program) StatsInto(s *Stats) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open("read the counters"); err != nil {
		return err
	}
	*s = Stats{}
	var perCPU []weirCounter
	for i := range 2 * reasonCount {
		if err := p.objs.VerdictStats.Lookup(uint32(i), &perCPU); err != nil { //nolint:gosec // a handful
			return fmt.Errorf("read the counters of xdp_weir: %w", err)
		}
		sum := &s.Passed[i%reasonCount]
		if i >= reasonCount {
			sum = &s.Dropped[i%reasonCount]
		}
		for _, c := range perCPU {
			sum.Packets += c.Packets
			sum.Bytes += c.Bytes
		}
	}
	return nil
}

// Client is a client in the table.
type Client struct {
	// Prefix is the source, as wide as Config's prefix bits make a client.
	Prefix netip.Prefix
	// Packets were seen since its slot was taken, Dropped of them were over the quota.
	Packets, Dropped uint64
	// Allowed says that no quota holds for it.
	Allowed bool
	// SeenNanos is when its last packet came, nanoseconds of CLOCK_MONOTONIC.
	SeenNanos uint64
}

// Layout of struct slot in bpf/include/abi.h, held to it by a test.
const (
	slotBytes  = 64
	offKey     = 0
	offPackets = 16
	offDropped = 24
	offAddr    = 32
	offFlags   = 53
	offSeen    = 56
	takenBit   = 1 << 63
	readBatch  = 64 << 10 // bytes of the table read at a time
)

// Slots is the number of clients the table holds.
func (p *Program) Slots() int { return p.cfg.Slots }

// Top is the n clients with the most packets, and how many there are in all. It reads the
// table as it stands, without stopping the program.
func (p *Program) Top(n int) (top []Client, used int, err error) {
	p.mu.Lock()
	err = p.open("read the table of clients")
	p.mu.Unlock()
	if err != nil {
		return nil, 0, err
	}
	buf := make([]byte, readBatch)
	size := int64(p.cfg.Slots) * slotBytes
	for at := int64(0); at < size; at += int64(len(buf)) {
		part := buf[:min(int64(len(buf)), size-at)]
		if _, err := p.table.ReadAt(part, at); err != nil {
			return nil, 0, fmt.Errorf("read the table of clients: %w", err)
		}
		for ; len(part) >= slotBytes; part = part[slotBytes:] {
			if binary.LittleEndian.Uint64(part[offKey:])&takenBit == 0 {
				continue
			}
			used++
			top = keepTop(top, p.client(part), n)
		}
	}
	sort.Slice(top, func(i, j int) bool { return top[i].Packets > top[j].Packets })
	return top, used, nil
}

func (p *Program) client(slot []byte) Client {
	addr := netip.AddrFrom16([16]byte(slot[offAddr:]))
	bits := p.cfg.IPv6PrefixBits
	if addr.Is4In6() {
		addr, bits = addr.Unmap(), p.cfg.IPv4PrefixBits
	}
	return Client{
		Prefix:    netip.PrefixFrom(addr, bits),
		Packets:   binary.LittleEndian.Uint64(slot[offPackets:]),
		Dropped:   binary.LittleEndian.Uint64(slot[offDropped:]),
		Allowed:   slot[offFlags]&slotAllowed != 0,
		SeenNanos: binary.LittleEndian.Uint64(slot[offSeen:]),
	}
}

// keepTop adds c to the n with the most packets, in no order.
func keepTop(top []Client, c Client, n int) []Client {
	if len(top) < n {
		return append(top, c)
	}
	least := 0
	for i := range top {
		if top[i].Packets < top[least].Packets {
			least = i
		}
	}
	if n > 0 && top[least].Packets < c.Packets {
		top[least] = c
	}
	return top
}
