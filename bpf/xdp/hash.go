package xdp

import (
	"encoding/binary"
	"math/bits"
)

// keyedHash is SipHash-2-4 of a text (Aumasson and Bernstein 2012): who does not know the seed cannot aim
// two names at one hash, or at one set of the table. It allocates nothing.
func keyedHash(seed [2]uint64, text string) uint64 {
	v := [4]uint64{seed[0] ^ 0x736f6d6570736575, seed[1] ^ 0x646f72616e646f6d, seed[0] ^ 0x6c7967656e657261, seed[1] ^ 0x7465646279746573}
	last := uint64(len(text)) << 56
	for ; len(text) >= 8; text = text[8:] {
		sipBlock(&v, word(text[:8]))
	}
	sipBlock(&v, last|word(text))
	v[2] ^= 0xff
	for range 4 {
		sipRound(&v)
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

// word is up to eight bytes as an integer, the first one lowest.
func word(s string) (w uint64) {
	var b [8]byte
	copy(b[:], s)
	return binary.LittleEndian.Uint64(b[:])
}

func sipBlock(v *[4]uint64, m uint64) {
	v[3] ^= m
	sipRound(v)
	sipRound(v)
	v[0] ^= m
}

func sipRound(v *[4]uint64) {
	v[0] += v[1]
	v[1] = bits.RotateLeft64(v[1], 13) ^ v[0]
	v[0] = bits.RotateLeft64(v[0], 32)
	v[2] += v[3]
	v[3] = bits.RotateLeft64(v[3], 16) ^ v[2]
	v[0] += v[3]
	v[3] = bits.RotateLeft64(v[3], 21) ^ v[0]
	v[2] += v[1]
	v[1] = bits.RotateLeft64(v[1], 17) ^ v[2]
	v[2] = bits.RotateLeft64(v[2], 32)
}

// mix and addrKey mirror mix and client_hash of bpf/include/client.h.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// addrKey is the key of an address's slot that is so many bits wide.
func addrKey(seed [2]uint64, addr [16]byte, width int) uint64 {
	hi, lo := halves(addr)
	return mix(mix(hi^seed[0])^lo^seed[1]^uint64(width)<<48) | takenBit //nolint:gosec // 0 to 128
}

// halves are 16 bytes in host order, as struct client has them.
func halves(b [16]byte) (hi, lo uint64) {
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}
