package bench

import (
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"

	"weir/bpf/baseline"
	"weir/bpf/xdp"
)

// The rows.
const (
	rowDrop        = "empty: XDP_DROP"
	rowDropMillion = "empty: XDP_DROP, 1 M random sources"
	rowDropAll     = "empty: XDP_DROP, 2^32 random sources"
	rowDropSYN     = "empty: XDP_DROP, the packet made anew"

	rowOff         = "weir: mode off"
	rowHotPackets  = "weir: hot client, packets"
	rowHot         = "weir: hot client, packets and bytes"
	rowHotCoarse   = "weir: hot client, packets and bytes, coarse clock"
	rowHotFour     = "weir: hot client, four quotas"
	rowHotFourSYN  = "weir: hot client, four quotas, SYN"
	rowHotOver     = "weir: hot client over its packets"
	rowHotLRU      = "LRU + GCRA: hot client, 100 k entries"
	rowHotLRUBig   = "LRU + GCRA: hot client, 1 M entries"
	rowLeastOne    = "floor: the clock, and a word of one entry"
	rowLeast       = "floor: the clock, and a word of one of 1 M slots"
	rowHotWindow   = "per-CPU hash, fixed window: hot client"
	rowCookieACK   = "weir: ACK of a cookie, no slot free"
	rowCookieBad   = "weir: ACK of no cookie, dropped"
	rowMillion     = "weir: 1 M clients, 1 M slots"
	rowMillion2    = "weir: 1 M clients, 2 M slots"
	rowMillionLRU0 = "LRU + GCRA: 1 M clients, 100 k entries"
	rowMillionLRU  = "LRU + GCRA: 1 M clients, 1 M entries"
	rowMillionLRU2 = "LRU + GCRA: 1 M clients, 2 M entries"
	rowSpoof       = "weir: spoofed"
	rowSpoofLists  = "weir: spoofed, 10,000 prefixes listed"
	rowSpoofLRU    = "LRU + GCRA: spoofed, 100 k entries"
	rowSpoofLRUBig = "LRU + GCRA: spoofed, 1 M entries"
	rowCookie      = "weir: SYN answered with a cookie"
)

// xdpCase is what a row measures.
type xdpCase struct {
	name, above string
	packet      []byte
	// both has it run on two CPUs at once, too.
	both bool
	// many sources are to be known before.
	many bool
	// most packets that the program treats alike; 0 for any number.
	most int
	// reasons that nine of ten packets get from weir.
	reasons []xdp.Reason
	load    func(*xdpLab, *xdpRig) error
}

// xdpRig is a case loaded.
type xdpRig struct {
	packet []byte
	run    *baseline.Runner
	prog   *xdp.Program // nil for a rival
	opened []io.Closer
}

func (r *xdpRig) close() error {
	var errs []error
	for _, c := range slices.Backward(r.opened) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func (r *xdpRig) stats() (xdp.Stats, error) {
	if r.prog == nil {
		return xdp.Stats{}, nil
	}
	return r.prog.Stats()
}

// runs makes a program the one to be run, and to be closed.
func (r *xdpRig) runs(run *baseline.Runner, err error) error {
	if err != nil {
		return err
	}
	r.run, r.opened = run, append(r.opened, run)
	return nil
}

// from has what is to be run called with so many bits of the source at random; 0 for none.
func (r *xdpRig) from(bits int) error {
	if bits == 0 {
		return nil
	}
	return r.runs(baseline.Spray(r.run.Program(), bits))
}

// weir loads xdp_weir on a table of so many slots. It is of no use where slots are to need proof
// and do not.
func (l *xdpLab) weir(r *xdpRig, cfg xdp.Config, policy xdp.Policy, mode xdp.Mode) error {
	cfg.Interface, cfg.Frags = "lo", xdp.OptionOff // as where the MTU is 1500
	err := l.ns.Do(func() (err error) {
		if r.prog, err = xdp.Load(cfg, slog.New(slog.DiscardHandler)); err == nil {
			r.opened = append(r.opened, r.prog)
		}
		return err
	})
	if err == nil {
		err = errors.Join(r.prog.Replace(policy), r.prog.SetMode(mode))
	}
	if err != nil {
		return err
	}
	if why := r.prog.Proofless(); cfg.Proof != xdp.OptionOff && why != nil {
		return &skippedError{why.Error()}
	}
	return r.runs(baseline.New(r.prog.Raw()), nil)
}

const (
	million = 20 // bits
	all     = 32
	// synMost is how many SYNs a client may have half open, xdp.Level.Concurrent at its most.
	synMost = 65535
	ticks   = 16e9 // of a second
	// slotsOfSet is how many clients a set of the table holds.
	slotsOfSet = 4
)

// endless is a quota that is charged and never used up: 10 M/s with a burst of 19 hours.
func endless() xdp.Quota { return xdp.Quota{Interval: ticks / 10e6, Limit: 1 << 50} }

// endlessBytes is 102 Gbit/s likewise.
func endlessBytes() xdp.ByteQuota {
	const each = 5 << 30 // 1.25 ticks
	return xdp.ByteQuota{Mult: each, Shift: 32, Limit: 1 << 50}
}

func perSecond(rate, burst uint64) xdp.Quota {
	return xdp.Quota{Interval: ticks / rate, Limit: burst * (ticks / rate)}
}

// megabyte is 1 MB/s.
func megabyte() xdp.ByteQuota { return xdp.ByteQuota{Mult: ticks / 1e6, Limit: ticks} }

func one(l xdp.Level) xdp.Policy { return xdp.Policy{Classes: []xdp.Class{{Client: l}}} }

// hot is one client, which has a slot: without proof the first packet gets it one.
func hot(level xdp.Level, clock xdp.Clock, mode xdp.Mode) func(*xdpLab, *xdpRig) error {
	return func(l *xdpLab, r *xdpRig) error {
		return l.weir(r, xdp.Config{Clock: clock, Proof: xdp.OptionOff, Slots: 1 << 14}, one(level), mode)
	}
}

// many are a million clients, each far below its quota.
func many(slots int) func(*xdpLab, *xdpRig) error {
	return func(l *xdpLab, r *xdpRig) error {
		level := xdp.Level{Packets: perSecond(1000, 1000), Bytes: megabyte()}
		err := l.weir(r, xdp.Config{Proof: xdp.OptionOff, Slots: slots}, one(level), xdp.ModeEnforce)
		return errors.Join(err, r.from(million))
	}
}

// unproved is the policy of a flood of those without proof.
func unproved(listed int) xdp.Policy {
	p := xdp.Policy{Classes: []xdp.Class{{
		Client:          xdp.Level{Packets: perSecond(1000, 1000), Bytes: megabyte()},
		UnprovedPackets: perSecond(200_000, 20_000),
	}}}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same in each run
	for range listed {
		n := random.Uint32()
		a := netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8)}) //nolint:gosec // its bytes
		p.Entries = append(p.Entries, xdp.Entry{Prefix: netip.PrefixFrom(a, 24), Deny: true})
	}
	return p
}

// spoofed is a flood from everywhere, on the table that Config has by default.
func spoofed(listed int) func(*xdpLab, *xdpRig) error {
	return func(l *xdpLab, r *xdpRig) error {
		if err := l.weir(r, xdp.Config{}, unproved(listed), xdp.ModeEnforce); err != nil {
			return err
		}
		return r.from(all)
	}
}

func drop(bits int) func(*xdpLab, *xdpRig) error {
	return func(_ *xdpLab, r *xdpRig) error {
		if err := r.runs(baseline.Drop()); err != nil {
			return err
		}
		return r.from(bits)
	}
}

func lru(entries, bits int) func(*xdpLab, *xdpRig) error {
	q := endless()
	if bits > 0 {
		q = perSecond(1000, 1000)
	}
	return func(_ *xdpLab, r *xdpRig) error {
		if err := r.runs(baseline.LRU(entries, baseline.Quota(q))); err != nil {
			return err
		}
		return r.from(bits)
	}
}

func least(sets, bits int) func(*xdpLab, *xdpRig) error {
	return func(_ *xdpLab, r *xdpRig) error {
		if err := r.runs(baseline.Least(sets)); err != nil {
			return err
		}
		return r.from(bits)
	}
}

func window(entries int) func(*xdpLab, *xdpRig) error {
	return func(_ *xdpLab, r *xdpRig) error { return r.runs(baseline.Window(entries, 1<<40)) }
}

func because(r ...xdp.Reason) []xdp.Reason { return r }

// xdpCases are the rows in their order, each beside what it is compared with.
func xdpCases() []xdpCase {
	two := xdp.Level{Packets: endless(), Bytes: endlessBytes()}
	four := xdp.Level{Packets: endless(), Bytes: endlessBytes(), Connections: endless(), Concurrent: synMost}
	source := netip.AddrFrom4([4]byte{192, 0, 2, 1})
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, 1}), 443)
	ack, syn, udp := tcpFrame(source, to, flagACK), tcpFrame(source, to, flagSYN), udpFrame(source, to)
	pass, enforce, precise := because(xdp.ReasonPassQuota), xdp.ModeEnforce, xdp.ClockPrecise
	return []xdpCase{
		{name: rowDrop, packet: ack, both: true, load: drop(0)},
		{name: rowOff, above: rowDrop, packet: ack, reasons: because(xdp.ReasonPassOff), load: hot(two, precise, xdp.ModeOff)},
		{name: rowHotPackets, above: rowDrop, packet: ack, reasons: pass, load: hot(xdp.Level{Packets: endless()}, precise, enforce)},
		{name: rowHot, above: rowDrop, packet: ack, both: true, reasons: pass, load: hot(two, precise, enforce)},
		{name: rowHotCoarse, above: rowDrop, packet: ack, reasons: pass, load: hot(two, xdp.ClockCoarse, enforce)},
		{name: rowHotFour, above: rowDrop, packet: ack, reasons: pass, load: hot(four, precise, enforce)},
		{name: rowHotFourSYN, above: rowDrop, packet: syn, most: synMost, reasons: pass, load: hot(four, precise, enforce)},
		{name: rowHotOver, above: rowDrop, packet: ack, reasons: because(xdp.ReasonQuotaPackets), load: hot(xdp.Level{Packets: perSecond(1000, 50)}, precise, enforce)},
		{name: rowHotLRU, above: rowDrop, packet: ack, load: lru(100_000, 0)},
		{name: rowHotLRUBig, above: rowDrop, packet: ack, both: true, load: lru(1<<20, 0)},
		{name: rowLeastOne, above: rowDrop, packet: ack, load: least(1, 0)},
		{name: rowHotWindow, above: rowDrop, packet: ack, load: window(100_000)},
		{name: rowCookieACK, above: rowDrop, reasons: because(xdp.ReasonPassTotal, xdp.ReasonTablePressure), load: cameBack},
		{name: rowCookieBad, above: rowDrop, reasons: because(xdp.ReasonOutOfState), load: forged},

		{name: rowDropMillion, packet: ack, both: true, load: drop(million)},
		{name: rowLeast, above: rowDropMillion, many: true, packet: ack, load: least(1<<20/slotsOfSet, million)},
		{name: rowMillion, above: rowDropMillion, many: true, packet: ack, both: true, reasons: pass, load: many(1 << 20)},
		{name: rowMillion2, above: rowDropMillion, many: true, packet: ack, both: true, reasons: pass, load: many(1 << 21)},
		{name: rowMillionLRU0, above: rowDropMillion, many: true, packet: ack, load: lru(100_000, million)},
		{name: rowMillionLRU, above: rowDropMillion, many: true, packet: ack, both: true, load: lru(1<<20, million)},
		{name: rowMillionLRU2, above: rowDropMillion, many: true, packet: ack, load: lru(1<<21, million)},

		{name: rowDropAll, packet: udp, both: true, load: drop(all)},
		{name: rowSpoof, above: rowDropAll, many: true, packet: udp, both: true, reasons: because(xdp.ReasonUnprovedTotal, xdp.ReasonPassUnproved), load: spoofed(0)},
		{name: rowSpoofLists, above: rowDropAll, many: true, packet: udp, both: true, reasons: because(xdp.ReasonUnprovedTotal, xdp.ReasonPassUnproved), load: spoofed(10_000)},
		{name: rowSpoofLRU, above: rowDropAll, many: true, packet: udp, load: lru(100_000, all)},
		{name: rowSpoofLRUBig, above: rowDropAll, many: true, packet: udp, both: true, load: lru(1<<20, all)},

		{name: rowDropSYN, packet: synFrame(source, to), load: dropSYN},
		{name: rowCookie, above: rowDropSYN, reasons: because(xdp.ReasonCookieSent), load: answered},
	}
}
