//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* xdp_weir charges every packet to its source prefix and drops what is over the quota. */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "../include/abi.h"
#include "../include/bucket.h"
#include "../include/cursor.h"
#include "../include/verdict.h"

#define FRAGMENT_OFFSET 0x1fff
#define FRAGMENT6_OFFSET 0xfff8

/* Set before load. */
const volatile __u64 hash_seed[2] = {0, 0};
const volatile __u32 set_mask = 0; /* number of sets - 1, a power of two less one */
const volatile __u32 ipv4_bits = 32;
const volatile __u32 ipv6_bits = 64;
const volatile __u32 cas_tries = CAS_TRIES; /* fewer only in tests */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct policy);
} current_policy SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_CLASSES);
	__type(key, __u32);
	__type(value, struct class);
} classes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_CLASSES);
	__type(key, __u32);
	__type(value, struct total);
} totals SEC(".maps");

/* Who is listed, by longest prefix. Asked when a slot is taken or of an old epoch, not for each
 * packet. Writer: user space. Reader: the program. Full: user space is told.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, struct listed);
} lists SEC(".maps");

/* The clients. A slot is taken by an unknown one if it is empty or its owner owes nothing,
 * which forgets nothing: a client whose arrival time is past is as one never seen. A set full
 * of owing slots falls to its class's total. max_entries is set before load.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct set);
} quota_state SEC(".maps");

/* Puts the enums into BTF, from where the Go types are made. */
const enum mode *unused_mode __attribute__((unused));
const enum reason *unused_reason __attribute__((unused));

/* A client's address: IPv6, or IPv4 mapped into it. */
struct client {
	__u64 hi;
	__u64 lo;
};

static __always_inline __u64 mask_bits(__u32 bits)
{
	return bits == 0 ? 0 : ~0ULL << (64 - bits);
}

static __always_inline void client_ipv4(struct client *c, __be32 saddr)
{
	__u32 bits = ipv4_bits > 32 ? 32 : ipv4_bits;

	c->hi = 0;
	c->lo = 0xffff00000000ULL | (bpf_ntohl(saddr) & (__u32)(mask_bits(bits) >> 32));
}

static __always_inline void client_ipv6(struct client *c, struct in6_addr *saddr)
{
	__u32 bits = ipv6_bits > 128 ? 128 : ipv6_bits;
	__u64 hi = (__u64)bpf_ntohl(saddr->in6_u.u6_addr32[0]) << 32 |
		   bpf_ntohl(saddr->in6_u.u6_addr32[1]);
	__u64 lo = (__u64)bpf_ntohl(saddr->in6_u.u6_addr32[2]) << 32 |
		   bpf_ntohl(saddr->in6_u.u6_addr32[3]);

	c->hi = hi & mask_bits(bits > 64 ? 64 : bits);
	c->lo = lo & mask_bits(bits > 64 ? bits - 64 : 0);
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

static __always_inline __u64 hash(const struct client *c)
{
	return mix(mix(c->hi ^ hash_seed[0]) ^ c->lo ^ hash_seed[1]);
}

static __always_inline void addr_of(__u8 *addr, const struct client *c)
{
	__be64 half[2] = {bpf_cpu_to_be64(c->hi), bpf_cpu_to_be64(c->lo)};

	__builtin_memcpy(addr, half, 16);
}

/* A slot's epoch, class and flags, read and written as one word so that they fit together. */
union terms {
	__u64 word;
	struct {
		__u32 epoch;
		__u8 class_id;
		__u8 flags;
		__u8 pad[2];
	};
};

_Static_assert(__builtin_offsetof(struct slot, epoch) % 8 == 0 &&
		       __builtin_offsetof(struct slot, seen) ==
			       __builtin_offsetof(struct slot, epoch) + sizeof(union terms),
	       "the terms are a word of the slot");

static __always_inline union terms slot_terms(struct slot *s)
{
	return (union terms){.word = *(volatile __u64 *)&s->epoch};
}

static __always_inline void slot_set_terms(struct slot *s, union terms t)
{
	*(volatile __u64 *)&s->epoch = t.word;
}

/* look_up asks the lists about a client. User space widens what it lists to whole clients, so
 * that one answer holds for all of a client's addresses.
 */
static __always_inline union terms look_up(const struct client *c, __u32 epoch)
{
	struct prefix key = {.bits = 32 + 128, .family = {0, 0, 0, 6}};
	union terms t = {.word = 0};
	struct listed *l;

	if (c->hi == 0 && c->lo >> 32 == 0xffff) {
		key.bits = 32 + 32;
		key.family[3] = 4;
		*(__be32 *)key.addr = bpf_htonl((__u32)c->lo);
	} else {
		addr_of(key.addr, c);
	}
	l = bpf_map_lookup_elem(&lists, &key);
	if (l) {
		t.class_id = l->class_id & (MAX_CLASSES - 1);
		t.flags = l->flags;
	}
	t.epoch = epoch;
	return t;
}

/* take makes s the client's, if nobody was faster and its owner has not begun to owe since it
 * was looked at. Error: a CPU that found the old owner before and charges it after is not
 * stopped; it charges the new owner, or nobody, one packet.
 */
static __always_inline int take(struct slot *s, __u64 old, __u64 key, const struct client *c,
				__u64 now, union terms t)
{
	if (__sync_val_compare_and_swap(&s->key, old, SLOT_BUSY) != old)
		return -1;
	if (*(volatile __u64 *)&s->tat > now) {
		__sync_val_compare_and_swap(&s->key, SLOT_BUSY, old);
		return -1;
	}
	s->tat = 0;
	s->packets = 0;
	s->dropped = 0;
	addr_of(s->addr, c);
	slot_set_terms(s, t);
	__sync_val_compare_and_swap(&s->key, SLOT_BUSY, key);
	return 0;
}

/* A search: the client's slot, or one it may take, or neither. */
struct found {
	struct slot *own;
	struct slot *free;
	__u64 free_key;
};

/* find looks through the set. While another CPU takes a slot of it none is offered, since that
 * one may become this client's. Error: if between two CPUs' looks a slot stops to owe, each may
 * take another one for the same client; the first in the set is found from then on, and the
 * other one has let one packet through.
 */
static __always_inline struct found find(struct set *set, __u64 key, __u64 now)
{
	struct found f = {NULL, NULL, 0};
	int busy = 0;

	for (int i = 0; i < SET_SLOTS; i++) {
		struct slot *s = &set->slots[i];
		__u64 k = *(volatile __u64 *)&s->key;

		if (k == key) {
			f.own = s;
			return f;
		}
		if (k == SLOT_BUSY) {
			busy = 1;
		} else if (f.free == NULL && (k == SLOT_EMPTY || s->tat <= now)) {
			f.free = s;
			f.free_key = k;
		}
	}
	if (busy)
		f.free = NULL;
	return f;
}

/* charge takes one packet off a quota. Another CPU may move the arrival time in between: then
 * it is tried again, and after cas_tries the packet is refused, which never admits too much.
 */
static __always_inline __u32 charge(__u64 *tat, __u64 now, __u64 interval, __u64 tolerance)
{
	for (__u32 i = 0; i < CAS_TRIES && i < cas_tries; i++) {
		__u64 old = *(volatile __u64 *)tat;
		__u64 new = gcra(old, now, interval, tolerance);

		if (new == 0)
			return REASON_QUOTA_PACKETS;
		if (__sync_val_compare_and_swap(tat, old, new) == old)
			return REASON_PASS_QUOTA;
	}
	return REASON_CONTENTION;
}

/* renew brings a slot to the current epoch: its client's class may be another one, or have
 * another quota, under which it cannot owe as much as under the old one. All writers of a time
 * that is too far ahead are renewing it: a swap that fails has been done by another CPU.
 */
static __always_inline union terms renew(struct slot *s, const struct client *c, __u64 now,
					 __u32 epoch)
{
	union terms t = look_up(c, epoch);
	__u32 class_id = t.class_id & (MAX_CLASSES - 1);
	struct class *class = bpf_map_lookup_elem(&classes, &class_id);
	__u64 old = *(volatile __u64 *)&s->tat;

	if (class)
		__sync_val_compare_and_swap(
			&s->tat, old, gcra_clamp(old, now, class->interval, class->tolerance));
	slot_set_terms(s, t);
	return t;
}

/* charge_total charges the class's total, for a client that has no slot. */
static __always_inline __u32 charge_total(__u32 class_id, __u64 now)
{
	struct class *class = bpf_map_lookup_elem(&classes, &class_id);
	struct total *total = bpf_map_lookup_elem(&totals, &class_id);

	if (!class || !total) /* class_id is masked: never */
		return REASON_TABLE_PRESSURE;
	if (charge(&total->tat, now, class->total_interval, class->total_tolerance) !=
	    REASON_PASS_QUOTA)
		return REASON_TABLE_PRESSURE;
	return REASON_PASS_TOTAL;
}

/* charge_slot charges the client's own quota. */
static __always_inline __u32 charge_slot(struct slot *s, __u32 class_id, __u64 now)
{
	struct class *class = bpf_map_lookup_elem(&classes, &class_id);
	__u32 reason;

	if (!class) /* class_id is masked: never */
		return REASON_TABLE_PRESSURE;
	reason = charge(&s->tat, now, class->interval, class->tolerance);
	if (reason != REASON_PASS_QUOTA)
		s->dropped++;
	return reason;
}

/* quota charges the client and says why its packet passes or not. The clock is the precise one,
 * though it is most of the cost (BenchmarkBPF: 53 ns with it, 20 with the coarse one): that one
 * steps by 1/HZ, within which a client that keeps to its rate would use up a small burst.
 */
static __always_inline __u32 quota(const struct client *c, const struct policy *p)
{
	__u64 ns = bpf_ktime_get_ns();
	__u64 now = ns << TICK_SHIFT;
	__u64 key = hash(c) | SLOT_TAKEN;
	__u32 index = key & set_mask;
	__u32 epoch = p->epoch;
	struct set *set = bpf_map_lookup_elem(&quota_state, &index);
	struct found f;
	union terms t;

	if (!set) /* set_mask and max_entries are set together: never */
		return REASON_TABLE_PRESSURE;
	f = find(set, key, now);
	if (f.own) {
		t = slot_terms(f.own);
		if (t.epoch != epoch)
			t = renew(f.own, c, now, epoch);
	} else {
		t = look_up(c, epoch);
		if (f.free && take(f.free, f.free_key, key, c, now, t) == 0)
			f.own = f.free;
	}
	if (f.own) {
		f.own->packets++;
		f.own->seen = ns;
	}
	if (t.flags & SLOT_ALLOWED)
		return REASON_PASS_ALLOWED;
	if (!f.own)
		return charge_total(t.class_id & (MAX_CLASSES - 1), now);
	return charge_slot(f.own, t.class_id & (MAX_CLASSES - 1), now);
}

#define NEXT REASON_MAX /* a parser's answer: go on */

static __always_inline __u32 parse_ipv4(struct cursor *cur, struct client *c)
{
	struct iphdr *ip = cursor_ipv4(cur);

	if (!ip)
		return REASON_IPV4_SHORT;
	if (ip->version != 4 || ip->ihl < 5 || bpf_ntohs(ip->tot_len) < ip->ihl * 4)
		return REASON_IPV4_BAD;
	if (cursor_ipv4_options(cur, ip) != 0)
		return REASON_IPV4_SHORT;
	/* Only a first fragment has the next header. All fragments are charged alike. */
	if ((ip->frag_off & bpf_htons(FRAGMENT_OFFSET)) == 0 && cursor_l4(cur, ip->protocol) != 0)
		return REASON_L4_SHORT;
	client_ipv4(c, ip->saddr);
	return NEXT;
}

static __always_inline int is_ext(__u8 kind)
{
	return kind == IPPROTO_HOPOPTS || kind == IPPROTO_ROUTING || kind == IPPROTO_DSTOPTS ||
	       kind == IPPROTO_FRAGMENT || kind == IPPROTO_AH;
}

static __always_inline __u32 parse_ipv6(struct cursor *cur, struct client *c)
{
	struct ipv6hdr *ip = cursor_ipv6(cur);
	int later = 0;
	__u8 kind;

	if (!ip)
		return REASON_IPV6_SHORT;
	if (ip->version != 6)
		return REASON_IPV6_BAD;
	kind = ip->nexthdr;
	for (int i = 0; i < MAX_EXTS && is_ext(kind) && !later; i++) {
		struct ext_head *ext = cursor_ext(cur, kind);
		__be16 offset;

		if (!ext)
			return REASON_EXT_SHORT;
		if (kind == IPPROTO_FRAGMENT) {
			__builtin_memcpy(&offset, ext->body, sizeof(offset));
			later = (offset & bpf_htons(FRAGMENT6_OFFSET)) != 0;
		}
		kind = ext->next;
	}
	if (!later && is_ext(kind))
		return REASON_EXT_DEPTH;
	if (!later && cursor_l4(cur, kind) != 0)
		return REASON_L4_SHORT;
	client_ipv6(c, &ip->saddr);
	return NEXT;
}

static __always_inline int is_vlan(__be16 proto)
{
	return proto == ETH_P_8021Q_BE || proto == ETH_P_8021AD_BE;
}

/* parse finds the client, or says what stands in the way. */
static __always_inline __u32 parse(struct xdp_md *ctx, struct client *c)
{
	struct cursor cur = {(void *)(long)ctx->data, (void *)(long)ctx->data_end};
	struct ethhdr *eth = cursor_eth(&cur);
	__be16 proto;

	if (!eth)
		return REASON_ETH_SHORT;
	proto = eth->h_proto;
	for (int i = 0; i < MAX_VLANS && is_vlan(proto); i++) {
		struct vlan_tag *tag = cursor_vlan(&cur);

		if (!tag)
			return REASON_VLAN_SHORT;
		proto = tag->proto;
	}
	if (is_vlan(proto))
		return REASON_VLAN_DEPTH;
	if (proto == bpf_htons(ETH_P_IP))
		return parse_ipv4(&cur, c);
	if (proto == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(&cur, c);
	return REASON_PASS_NOT_IP;
}

SEC("xdp")
int xdp_weir(struct xdp_md *ctx)
{
	struct client c = {0, 0};
	struct policy *p;
	__u32 zero = 0, reason;

	p = bpf_map_lookup_elem(&current_policy, &zero);
	if (!p || p->mode == MODE_OFF)
		return verdict(ctx, XDP_PASS, REASON_PASS_OFF);
	reason = parse(ctx, &c);
	if (reason == NEXT)
		reason = quota(&c, p);
	if (reason <= REASON_PASS_TOTAL || p->mode == MODE_SHADOW)
		return verdict(ctx, XDP_PASS, reason);
	return verdict(ctx, XDP_DROP, reason);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
