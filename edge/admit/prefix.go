package admit

import (
	"math"
	"net/netip"
)

// key is a client's prefix: an IPv6 address's bits, the rest 0. An IPv4 address is the IPv6 one
// it is mapped to (::ffff:0:0/96), which no IPv6 prefix of a client is: see [keyOf].
type key struct{ hi, lo uint64 }

// mapped is the upper half of the lower word of an IPv4-mapped address.
const mapped = 0xffff << 32

// keyOf cuts an address to its prefix. A mapped address is IPv4; what is left of IPv6 has other
// bits where mapped addresses have theirs, or is cut before the last of them, which is 1.
func keyOf(a netip.Addr, bits4, bits6 int) key {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		return key{lo: mapped | uint64(v&^(math.MaxUint32>>bits4))}
	}
	b := a.As16()
	var k key
	for i := range 8 {
		k.hi = k.hi<<8 | uint64(b[i])
		k.lo = k.lo<<8 | uint64(b[8+i])
	}
	// A shift by 64 or more leaves 0 in Go.
	k.hi &^= math.MaxUint64 >> min(bits6, 64)
	k.lo &^= math.MaxUint64 >> max(bits6-64, 0)
	return k
}
