package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// Stamp tells listeners to expect cookies, each of which the kernel else refuses. It is to be called
// once a minute, in the network namespace of the interface; xdp_weir answers SYNs only to
// ports stamped in the last 100 s. While it runs the kernel's own cookies are forced
// (net.ipv4.tcp_syncookies=2), for microseconds; the setting is put back. It returns how many
// listeners were told. Where SYNs are not answered in XDP it does nothing.
func (p *Program) Stamp(listeners []Listener) (told int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open("stamp listeners"); err != nil || !p.features.Cookies || len(listeners) == 0 {
		return 0, err
	}
	restore, err := forceCookies()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	for _, l := range listeners {
		for _, syn := range synsFor(l) {
			did, err := p.objs.Stamp.Run(&ebpf.RunOptions{Data: syn})
			if err != nil {
				return told, fmt.Errorf("stamp the listener on %v: %w", l.Addr, err)
			}
			if did == 1 {
				told++
				break
			}
		}
	}
	return told, nil
}

// synsFor are SYNs that a listener would get: to its address, or to the host's own loopback one
// if it takes all, in each family that it may take.
func synsFor(l Listener) [][]byte {
	to := l.Addr.Addr()
	switch {
	case to == netip.IPv6Unspecified():
		return [][]byte{synTo(netip.IPv6Loopback(), l.Addr.Port()), synTo(netip.AddrFrom4([4]byte{127, 0, 0, 1}), l.Addr.Port())}
	case to == netip.IPv4Unspecified():
		return [][]byte{synTo(netip.AddrFrom4([4]byte{127, 0, 0, 1}), l.Addr.Port())}
	}
	return [][]byte{synTo(to, l.Addr.Port())}
}

// synTo is a frame with a SYN to an address, from the same one.
func synTo(to netip.Addr, port uint16) []byte {
	const sourcePort = 1
	tcp := make([]byte, 24)
	binary.BigEndian.PutUint16(tcp, sourcePort)
	binary.BigEndian.PutUint16(tcp[2:], port)
	tcp[12], tcp[13] = 6<<4, 2
	copy(tcp[20:], []byte{2, 4, 1460 >> 8, 1460 & 0xff})
	frame := make([]byte, 14)
	if to.Is4() {
		binary.BigEndian.PutUint16(frame[12:], 0x0800)
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 64, 6
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(tcp)))
		copy(ip[12:], to.AsSlice())
		copy(ip[16:], to.AsSlice())
		return append(append(frame, ip...), tcp...)
	}
	binary.BigEndian.PutUint16(frame[12:], 0x86dd)
	ip := make([]byte, 40)
	ip[0], ip[6], ip[7] = 0x60, 6, 64
	binary.BigEndian.PutUint16(ip[4:], uint16(len(tcp)))
	copy(ip[8:], to.AsSlice())
	copy(ip[24:], to.AsSlice())
	return append(append(frame, ip...), tcp...)
}
