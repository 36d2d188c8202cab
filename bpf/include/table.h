/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The table of clients: looking one up, taking a slot, what lists and classes say of it. */
#ifndef WEIR_TABLE_H
#define WEIR_TABLE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "bucket.h"
#include "client.h"
#include "held.h"
#include "maps.h"

/* A slot's epoch, class and flags, read and written as one word so that they fit together. */
union terms {
	__u64 word;
	struct {
		__u32 epoch;
		__u8 class_id;
		__u8 flags;
		__u8 reason;
		__u8 bits;
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

/* The policy as of one packet: a copy, since another may hold the next moment. */
union policy_word {
	__u64 word;
	struct policy is;
};

static __always_inline union policy_word read_policy(void)
{
	__u32 zero = 0;
	struct policy *p = bpf_map_lookup_elem(&current_policy, &zero);

	return (union policy_word){.word = p ? *(volatile __u64 *)p : 0};
}

static __always_inline struct class *class_of(union policy_word p, __u8 class_id)
{
	__u32 index = (p.is.generation & (GENERATIONS - 1)) * MAX_CLASSES +
		      (class_id & (MAX_CLASSES - 1));

	return bpf_map_lookup_elem(&classes, &index);
}

/* head_of is what is listed of all addresses that begin as this one does. */
static __always_inline __u8 head_of(const struct client *c, union policy_word p)
{
	__u32 generation = p.is.generation & (GENERATIONS - 1);
	__u32 is_ipv6 = !client_is_ipv4(c);
	__u32 head = is_ipv6 ? c->hi >> (64 - HEAD_BITS) : (__u32)c->lo >> (32 - HEAD_BITS);
	__u32 index = (generation * 2 + is_ipv6) << (HEAD_BITS - HEAD_LOW) | head >> HEAD_LOW;
	struct heads *h = bpf_map_lookup_elem(&list_heads, &index);

	return h ? *(volatile __u8 *)&h->is[head & ((1 << HEAD_LOW) - 1)] : HEAD_MIXED;
}

static __always_inline int is_any_listed(const struct client *c, union policy_word p)
{
	return p.is.flags & (client_is_ipv4(c) ? POLICY_LISTED_V4 : POLICY_LISTED_V6);
}

/* look_up asks the lists about an address. */
static __always_inline union terms look_up(const struct client *c, union policy_word p)
{
	__u32 generation = p.is.generation & (GENERATIONS - 1);
	union terms t = {.epoch = p.is.epoch};
	struct prefix key = {.bits = 128};
	struct listed *l = NULL;
	void *list;
	__u8 head;

	if (!is_any_listed(c, p))
		return t;
	head = head_of(c, p);
	if (head < HEAD_MIXED) {
		t.class_id = head & HEAD_CLASS;
		t.flags = head >> HEAD_FLAGS_SHIFT;
		return t;
	}
	if (client_is_ipv4(c)) {
		key.bits = 32;
		*(__be32 *)key.addr = bpf_htonl((__u32)c->lo);
		list = bpf_map_lookup_elem(&lists_v4, &generation);
	} else {
		client_addr(key.addr, c);
		list = bpf_map_lookup_elem(&lists_v6, &generation);
	}
	if (list)
		l = bpf_map_lookup_elem(list, &key);
	if (l) {
		t.class_id = l->class_id & (MAX_CLASSES - 1);
		t.flags = l->flags;
	}
	return t;
}

/* is_owing is owes for who is deep in calls: 512 bytes of stack are all there is. */
static __always_inline int is_owing(const struct slot *s, __u64 now)
{
	return *(volatile __u64 *)&s->packet_tat > now || *(volatile __u64 *)&s->byte_tat > now ||
	       *(volatile __u64 *)&s->connection_tat > now ||
	       held_total(held_at(*(volatile __u64 *)&s->held, now >> TICK_SHIFT)) > 0;
}

__noinline int owes(const struct slot *s, __u64 now)
{
	return !s || is_owing(s, now);
}

/* A search: where the client's slot is, or one it may take, or neither. */
struct found {
	struct set *set;
	__u64 key;
	__u64 old; /* key of the slot that may be taken */
	__u32 own; /* SET_SLOTS if it has none */
	__u32 free; /* SET_SLOTS if there is none */
};

static __always_inline struct slot *slot_at(struct set *set, __u32 i)
{
	return &set->slot[i & (SET_SLOTS - 1)];
}

static __always_inline struct set *set_of(__u64 key)
{
	__u32 index = key & set_mask;

	return bpf_map_lookup_elem(&quota_state, &index);
}

/* find_set begins a search by a client's key: find_own and find_free go on with it. */
static __always_inline void find_set(struct found *f, __u64 key)
{
	f->key = key;
	f->own = f->free = SET_SLOTS;
	f->set = set_of(key);
}

/* home is where in its set a client is if it can be: by bits of its key that do not say which
 * set.
 */
static __always_inline __u32 home(__u64 key)
{
	return key >> 60 & (SET_SLOTS - 1);
}

/* find_own goes on with it: which slot of the set is the client's. */
static __always_inline void find_own(struct found *f)
{
	__u32 at = home(f->key);

	if (*(volatile __u64 *)&f->set->key[at] == f->key) {
		f->own = at;
		return;
	}
#pragma unroll
	for (__u32 i = 0; i < SET_SLOTS; i++) {
		if (*(volatile __u64 *)&f->set->key[i] == f->key)
			f->own = i;
	}
}

/* find looks for a client's slot. */
static __always_inline void find(struct found *f, const struct client *c, __u32 bits)
{
	find_set(f, client_hash(c, bits) | SLOT_TAKEN);
	if (f->set) /* set_mask and max_entries are set together: always */
		find_own(f);
}

/* find_free looks for a slot to take: an empty one, the one at home first, else that of who has
 * been away the longest of those who owe nothing, since with its slot goes the proof of its return
 * path. While another CPU takes one of the set none is offered, since that one may become this
 * client's. Error: if between two CPUs' looks a slot stops to owe, each may take another one for
 * the same client; one of them is found from then on, and the other one has let one packet through.
 */
static __noinline int find_free(struct found *f, __u64 now)
{
	__u64 oldest = ~0ULL;

	if (!f->set)
		return -1;
	for (__u32 n = 0; n < SET_SLOTS; n++) {
		__u32 i = (home(f->key) + n) & (SET_SLOTS - 1);
		__u64 k = *(volatile __u64 *)&f->set->key[i];

		if (k == f->key) {
			f->own = i;
			return 0;
		}
		if (k == SLOT_BUSY) {
			f->free = SET_SLOTS;
			return -1;
		}
		if (k == SLOT_EMPTY) {
			if (oldest > 0)
				f->free = i;
			f->old = k;
			oldest = 0;
		} else if (slot_at(f->set, i)->seen < oldest && !owes(slot_at(f->set, i), now)) {
			f->free = i;
			f->old = k;
			oldest = slot_at(f->set, i)->seen;
		}
	}
	return 0;
}

/* take makes the slot found the client's, if nobody was faster and its owner has not begun to
 * owe since it was looked at. held is not written: it is 0 for what counts, and what a CPU that
 * found the old owner adds after this look it takes off again, once it sees another key. Error: a
 * CPU that found the old owner before and charges it after is not stopped; it charges the new
 * owner, or nobody, one packet.
 */
static __noinline int take(struct found *f, const struct client *c, __u32 bits, __u64 now,
			   __u64 terms)
{
	union terms t = {.word = terms};
	__u32 i = f->free & (SET_SLOTS - 1);
	struct slot *s;

	if (!f->set)
		return -1;
	s = slot_at(f->set, i);
	if (__sync_val_compare_and_swap(&f->set->key[i], f->old, SLOT_BUSY) != f->old)
		return -1;
	if (is_owing(s, now)) {
		__sync_val_compare_and_swap(&f->set->key[i], SLOT_BUSY, f->old);
		return -1;
	}
	s->packet_tat = 0;
	s->byte_tat = 0;
	s->connection_tat = 0;
	s->packets = 0;
	s->dropped = 0;
	s->seen = now >> TICK_SHIFT;
	f->set->spared[i] = 0;
	client_addr(f->set->addr[i], c);
	t.bits = bits;
	slot_set_terms(s, t);
	__sync_val_compare_and_swap(&f->set->key[i], SLOT_BUSY, f->key);
	f->own = i;
	count_event(EVENT_TAKEN);
	return 0;
}

/* clamp brings one arrival time under a quota that has changed. All writers of one that is too
 * far ahead are renewing it: a swap that fails has been done by another CPU.
 */
static __always_inline void clamp(__u64 *tat, __u64 now, __u64 limit)
{
	__u64 old = *(volatile __u64 *)tat;
	__u64 new = gcra_clamp(old, now, limit);

	if (new != old)
		__sync_val_compare_and_swap(tat, old, new);
}

static __always_inline void clamp_slot(struct slot *s, const struct level *l, __u64 now)
{
	clamp(&s->packet_tat, now, l->packets.limit);
	clamp(&s->byte_tat, now, l->bytes.limit);
	clamp(&s->connection_tat, now, l->connections.limit);
}

static __always_inline __u32 level_bits(const struct level *l, const struct client *c)
{
	return client_is_ipv4(c) ? l->ipv4_bits : l->ipv6_bits;
}

static __always_inline __u32 own_bits(const struct client *c)
{
	return client_is_ipv4(c) ? ipv4_bits : ipv6_bits;
}

/* A slot for a prefix wider than what has a slot of its own is one for each class, so that two
 * classes within a prefix do not charge each other.
 */
static __always_inline __u32 wide_bits(__u32 bits, __u8 class_id)
{
	return bits | (__u32)(class_id & (MAX_CLASSES - 1)) << 8;
}

/* find_wide is the slot of the prefix that a client of a class is in, taken if need be; NULL if
 * there is no room. Its callers have proof.
 */
static __noinline struct slot *find_wide(const struct client *c, __u64 now, __u64 word,
					 const struct level *l, __u32 class_id)
{
	union policy_word p = {.word = word};
	__u32 bits = level_bits(l, c);
	struct client wide;
	struct found f = {};
	union terms t;
	struct slot *s;

	client_cut(&wide, c, l->ipv4_bits, l->ipv6_bits);
	find(&f, &wide, wide_bits(bits, class_id));
	if (!f.set)
		return NULL;
	t = (union terms){.epoch = p.is.epoch, .class_id = class_id};
	if (f.own == SET_SLOTS) {
		find_free(&f, now);
		if (f.own == SET_SLOTS &&
		    (f.free == SET_SLOTS || take(&f, &wide, bits, now, t.word) != 0)) {
			count_event(EVENT_SLOT_LOST);
			return NULL;
		}
	}
	s = slot_at(f.set, f.own);
	if (slot_terms(s).epoch != p.is.epoch) {
		clamp_slot(s, l, now);
		t.bits = bits;
		slot_set_terms(s, t);
	}
	return s;
}

#endif
