package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"weir/bpf/baseline"
	"weir/bpf/xdp"
)

// dropSYN is the baseline of SYNs: the answer to one would be what comes next.
func dropSYN(_ *xdpLab, r *xdpRig) error {
	if err := r.runs(baseline.Drop()); err != nil {
		return err
	}
	return r.runs(baseline.Rewind(r.run.Program(), r.packet))
}

// attacked loads xdp_weir under attack with the lab's listener stamped, after before, if there is
// any, had it as it was before: the packet is a SYN to that listener.
func (l *xdpLab) attacked(r *xdpRig, slots int, before func() error) error {
	if err := l.weir(r, xdp.Config{Slots: slots}, unproved(0), xdp.ModeEnforce); err != nil {
		return err
	}
	if !r.prog.Features().Cookies {
		return &skippedError{"the kernel has no SYN cookies for XDP: use Linux 6.0 or newer"}
	}
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	to := l.listener.Addr().(*net.TCPAddr).AddrPort() //nolint:errcheck,forcetypeassert // it listens on TCP
	told := 0
	err := l.ns.Do(func() (err error) {
		told, err = r.prog.Stamp([]xdp.Listener{{Addr: to}})
		return err
	})
	if err == nil && told == 0 {
		err = errors.New("the listener was not told to expect cookies")
	}
	r.packet = synFrame(netip.AddrFrom4([4]byte{192, 0, 2, 1}), to)
	return errors.Join(err, r.prog.SetMode(xdp.ModeUnderAttack))
}

// answered is a SYN again and again.
func answered(l *xdpLab, r *xdpRig) error {
	if err := l.attacked(r, 1<<14, nil); err != nil {
		return err
	}
	return r.runs(baseline.Rewind(r.run.Program(), r.packet))
}

// cameBack is the ACK of a cookie. It would be the proof that gets its source a slot, and be a
// known client's from then on: all slots are taken by those who owe.
func cameBack(l *xdpLab, r *xdpRig) error {
	const slots, hour = 16, uint64(3600 * ticks)
	err := l.attacked(r, slots, func() (err error) {
		debt := xdp.Level{Packets: xdp.Quota{Interval: hour, Limit: 9 * hour}}
		if err := r.prog.Replace(xdp.Policy{Classes: []xdp.Class{{Client: debt, SlotsForAll: true}}}); err != nil {
			return err
		}
		crowd, err := baseline.Spray(r.prog.Raw(), million)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, crowd.Close()) }()
		someone := netip.AddrPortFrom(netip.IPv4Unspecified(), 1)
		if _, err := crowd.Run(udpFrame(someone.Addr(), someone), 1000*slots); err != nil {
			return err
		}
		return r.prog.Replace(unproved(0))
	})
	if err != nil {
		return err
	}
	_, answer, err := r.run.Once(r.packet)
	if err != nil {
		return err
	}
	if len(answer) != len(r.packet) || answer[tcpFlags] != flagSYN|flagACK {
		return fmt.Errorf("the SYN was answered with %x", answer)
	}
	r.packet = ackOf(r.packet, binary.BigEndian.Uint32(answer[tcpSeq:]))
	return nil
}

// forged is an ACK that acknowledges nothing.
func forged(l *xdpLab, r *xdpRig) error {
	if err := l.attacked(r, 1<<14, nil); err != nil {
		return err
	}
	r.packet = ackOf(r.packet, 0)
	return nil
}
