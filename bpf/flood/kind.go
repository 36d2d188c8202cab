package flood

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what a flood is made of.
type Kind string

// The kinds.
const (
	// KindSYN opens TCP conns and leaves them half open.
	KindSYN Kind = "syn"
	// KindACK acknowledges in TCP conns that there are not.
	KindACK Kind = "ack"
	// KindRST resets TCP conns that there are not.
	KindRST Kind = "rst"
	// KindUDP is small datagrams.
	KindUDP Kind = "udp"
	// KindFragments is later fragments without a first one, and first ones that end within
	// the TCP header.
	KindFragments Kind = "fragments"
	// KindVLAN is SYNs behind one VLAN tag or two.
	KindVLAN Kind = "vlan"
	// KindExt is SYNs behind IPv6 extension headers, from one to more than weir reads.
	KindExt Kind = "ext"
	// KindMix is all of the above in turn.
	KindMix Kind = "mix"
	// KindConnect is real conns, opened and reset by sockets.
	KindConnect Kind = "connect"
)

// Kinds are all of them.
func Kinds() []Kind {
	return []Kind{KindSYN, KindACK, KindRST, KindUDP, KindFragments, KindVLAN, KindExt, KindMix, KindConnect}
}

// ParseKind reads a kind's name.
func ParseKind(s string) (Kind, error) {
	if slices.Contains(Kinds(), Kind(s)) {
		return Kind(s), nil
	}
	var names []string
	for _, k := range Kinds() {
		names = append(names, string(k))
	}
	return "", fmt.Errorf("kind %q: want one of %s", s, strings.Join(names, ", "))
}

// Flags of TCP.
const (
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// IP protocols, and types of IPv6 extension headers.
const (
	protoTCP      = 6
	protoUDP      = 17
	extHopByHop   = 0
	extRouting    = 43
	extFragment   = 44
	extDestOption = 60
)

// tooManyExts is more extension headers than weir reads, which is six (bpf/include/cursor.h).
const tooManyExts = 8

// shape is what a template is built from.
type shape struct {
	name  string
	vlans int
	v6    bool
	exts  []byte // kinds of IPv6 extension headers
	proto byte
	flags byte // of TCP
	frag  *fragment
}

// fragment makes a shape one.
type fragment struct {
	offset int // bytes, a multiple of 8; above 0 there is no header of TCP or UDP
	bytes  int // of its payload, a multiple of 8: another one follows
}

// both is a shape over IPv4 and over IPv6.
func both(s shape) []shape {
	v6 := s
	s.name, v6.name, v6.v6 = s.name+" over IPv4", s.name+" over IPv6", true
	return []shape{s, v6}
}

// shapes are a kind's; KindConnect has none.
func (k Kind) shapes() (all []shape) {
	tcp := func(name string, flags byte) []shape {
		return both(shape{name: name, proto: protoTCP, flags: flags})
	}
	switch k {
	case KindSYN:
		return tcp("syn", flagSYN)
	case KindACK:
		return tcp("ack", flagACK)
	case KindRST:
		return tcp("rst", flagRST)
	case KindUDP:
		return both(shape{name: "udp", proto: protoUDP})
	case KindFragments:
		for _, f := range []struct {
			name string
			fragment
		}{{"later fragment", fragment{1480, 64}}, {"tiny first fragment", fragment{0, 8}}} {
			all = append(all, both(shape{name: f.name, proto: protoTCP, flags: flagSYN, frag: &f.fragment})...)
		}
	case KindVLAN:
		for n, name := range []string{1: "syn behind a tag", 2: "syn behind two tags"} {
			if n > 0 {
				all = append(all, both(shape{name: name, vlans: n, proto: protoTCP, flags: flagSYN})...)
			}
		}
	case KindExt:
		for n := 1; n <= tooManyExts; n++ {
			if n == tooManyExts-1 {
				continue // one too many is enough
			}
			all = append(all, shape{name: fmt.Sprintf("syn behind %d extension headers", n), v6: true, exts: extensions(n), proto: protoTCP, flags: flagSYN})
		}
	case KindMix:
		for _, part := range Kinds() {
			if part != KindMix {
				all = append(all, part.shapes()...)
			}
		}
	case KindConnect:
	}
	return all
}

// extensions are n kinds, in the order of RFC 8200 section 4.1 as far as there are so many.
func extensions(n int) []byte {
	all := []byte{extHopByHop, extDestOption, extRouting}
	for len(all) < n {
		all = append(all, extDestOption)
	}
	return all[:n]
}
