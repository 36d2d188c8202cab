package xdp

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Of struct heads in bpf/include/abi.h, held to it by a test.
const (
	headBits       = 20
	headLow        = 6
	headFlagsShift = 6
	headMixed      = 0xc0
	headBlocks     = 1 << (headBits - headLow)
)

// heads is what is listed of all addresses of a family that begin with the same headBits, by those;
// headMixed where a listed prefix is longer.
func heads(entries map[netip.Prefix]Entry) []weirHeads {
	heads := make([]weirHeads, headBlocks)
	for _, at := range slices.SortedFunc(maps.Keys(entries), func(a, b netip.Prefix) int { return cmp.Compare(a.Bits(), b.Bits()) }) {
		first, n, is := headOf(at.Addr()), 1, uint8(headMixed)
		if at.Bits() <= headBits {
			e := entries[at].encode()
			n, is = 1<<(headBits-at.Bits()), e.ClassId|e.Flags<<headFlagsShift
		}
		for head := first; head < first+n; head++ {
			heads[head>>headLow].Is[head&(1<<headLow-1)] = is
		}
	}
	return heads
}

// headOf is an address's first headBits.
func headOf(a netip.Addr) int {
	return int(binary.BigEndian.Uint32(a.AsSlice()) >> (32 - headBits))
}

// writeHeads writes the heads of a generation and family. p.mu is held.
func (p *Program) writeHeads(generation uint32, family int, entries map[netip.Prefix]Entry) error {
	keys := make([]uint32, headBlocks)
	for i := range keys {
		keys[i] = (generation*2+uint32(family))*headBlocks + uint32(i) //nolint:gosec // 0 or 1, and below headBlocks
	}
	if err := putAll(p.objs.ListHeads, keys, heads(entries)); err != nil {
		return fmt.Errorf("write the heads of %d prefixes: %w", len(entries), err)
	}
	return nil
}
