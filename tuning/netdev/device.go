package netdev

import "strings"

// Features are a set of what a device can do with XDP: enum netdev_xdp_act of linux/netdev.h.
type Features uint64

// The features.
const (
	// Basic: it runs programs in its driver, and drops, passes and sends back by them.
	Basic Features = 1 << iota
	// Redirect: programs may send packets to other devices and sockets.
	Redirect
	// Transmit: it sends what other devices' programs redirect to it.
	Transmit
	// ZeroCopy: AF_XDP sockets without a copy.
	ZeroCopy
	// Offload: it runs programs itself.
	Offload
	// ReceiveFrags: programs see packets of several buffers.
	ReceiveFrags
	// TransmitFrags: the same of what is redirected to it.
	TransmitFrags
)

// String is the set in words, "nothing" for none.
func (f Features) String() string {
	return words(uint64(f), "drop, pass and send back", "redirect", "take what is redirected", "AF_XDP without a copy", "offload", "packets of several buffers", "several buffers redirected to it")
}

// Metadata are a set of what a device tells a program beside the packet: enum netdev_xdp_rx_metadata.
type Metadata uint64

// String is the set in words, "nothing" for none.
func (m Metadata) String() string { return words(uint64(m), "timestamp", "hash", "VLAN tag") }

// words are those of the bits that are set.
func words(bits uint64, of ...string) string {
	var all []string
	for i, word := range of {
		if bits>>i&1 == 1 {
			all = append(all, word)
		}
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ", ")
}

// Device is what the kernel says of one.
type Device struct {
	Features Features
	// ZeroCopySegments is of how many buffers a packet of AF_XDP without a copy may be, 0 if the kernel does not say.
	ZeroCopySegments uint32
	Metadata         Metadata
}
