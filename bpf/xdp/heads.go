package xdp

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
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
func heads(entries map[netip.Prefix]Entry) []byte {
	heads := make([]byte, 1<<headBits)
	for _, at := range slices.SortedFunc(maps.Keys(entries), func(a, b netip.Prefix) int { return cmp.Compare(a.Bits(), b.Bits()) }) {
		first := headOf(at.Addr())
		if at.Bits() > headBits {
			heads[first] = headMixed
			continue
		}
		e := entries[at].encode()
		for i := range 1 << (headBits - at.Bits()) {
			heads[first+i] = e.ClassId | e.Flags<<headFlagsShift
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
	base := (generation*2 + uint32(family)) * headBlocks //nolint:gosec // 0 or 1
	all := heads(entries)
	keys, values := make([]uint32, headBlocks), make([]weirHeads, headBlocks)
	for i := range keys {
		keys[i] = base + uint32(i) //nolint:gosec // below headBlocks
		copy(values[i].Is[:], all[i<<headLow:])
	}
	_, err := p.objs.ListHeads.BatchUpdate(keys, values, nil)
	for i := 0; i < len(keys) && errors.Is(err, ebpf.ErrNotSupported); i++ {
		if one := p.objs.ListHeads.Put(keys[i], values[i]); one != nil || i == len(keys)-1 {
			err = one
		}
	}
	if err != nil {
		return fmt.Errorf("write the heads of %d prefixes: %w", len(entries), err)
	}
	return nil
}
