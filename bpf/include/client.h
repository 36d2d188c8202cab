/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who a packet or a socket is charged to: an address cut to a prefix, and its keyed hash. */
#ifndef WEIR_CLIENT_H
#define WEIR_CLIENT_H

#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"

/* Set before load. */
const volatile __u64 hash_seed[2] = {0, 0};
const volatile __u32 ipv4_bits = 32; /* of an address, that have a slot of their own */
const volatile __u32 ipv6_bits = 64;

#define MAPPED 0xffff00000000ULL

static __always_inline int client_is_ipv4(const struct client *c)
{
	return c->hi == 0 && c->lo >> 32 == 0xffff;
}

static __always_inline __u64 mask_bits(__u32 bits)
{
	return bits == 0 ? 0 : ~0ULL << ((64 - bits) & 63);
}

static __always_inline void client_ipv4(struct client *c, __be32 saddr)
{
	c->hi = 0;
	c->lo = MAPPED | bpf_ntohl(saddr);
}

static __always_inline void client_ipv6(struct client *c, const __be32 *saddr)
{
	c->hi = (__u64)bpf_ntohl(saddr[0]) << 32 | bpf_ntohl(saddr[1]);
	c->lo = (__u64)bpf_ntohl(saddr[2]) << 32 | bpf_ntohl(saddr[3]);
}

/* client_cut is the client that so many bits of an address are. */
static __always_inline void client_cut(struct client *to, const struct client *c, __u32 v4_bits,
				       __u32 v6_bits)
{
	if (client_is_ipv4(c)) {
		to->hi = 0;
		to->lo = MAPPED |
			 ((__u32)c->lo & (__u32)(mask_bits(v4_bits > 32 ? 32 : v4_bits) >> 32));
		return;
	}
	if (v6_bits > 128)
		v6_bits = 128;
	to->hi = c->hi & mask_bits(v6_bits > 64 ? 64 : v6_bits);
	to->lo = c->lo & mask_bits(v6_bits > 64 ? v6_bits - 64 : 0);
}

/* The finalizer of MurmurHash3, a bijection that mixes all bits, over each half. Which clients
 * share a set depends on a seed of this load, which nobody outside knows: with the default
 * prefixes all that a sender chooses is within one half, so it cannot aim two at one set.
 */
static __always_inline __u64 mix(__u64 h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ULL;
	h ^= h >> 33;
	return h;
}

/* client_hash is that of a client so many bits wide: a /64 and the /48 of the same zeros are
 * two.
 */
static __always_inline __u64 client_hash(const struct client *c, __u32 bits)
{
	return mix(mix(c->hi ^ hash_seed[0]) ^ c->lo ^ hash_seed[1] ^ ((__u64)bits << 48));
}

static __always_inline void client_addr(__u8 *addr, const struct client *c)
{
	__be64 half[2] = {bpf_cpu_to_be64(c->hi), bpf_cpu_to_be64(c->lo)};

	__builtin_memcpy(addr, half, 16);
}

#endif
