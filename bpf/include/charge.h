/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Charging a packet: to a slot's four quotas, or to the budgets of those without one. */
#ifndef WEIR_CHARGE_H
#define WEIR_CHARGE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "bucket.h"
#include "client.h"
#include "held.h"
#include "table.h"

/* Set before load. */
const volatile __u32 cas_tries = CAS_TRIES; /* fewer only in tests */
const volatile __u32 sketches = 1; /* one for each CPU */

/* What the budgets have used. Writer: the programs. User space sets it to 0 with the class. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_CLASSES);
	__type(key, __u32);
	__type(value, struct pool);
} pools SEC(".maps");

/* Each CPU's share of them. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_CLASSES);
	__type(key, __u32);
	__type(value, struct purses);
} cpu_purses SEC(".maps");

/* What unproved sources owe: a sketch for each CPU, so max_entries is set before load. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sketch);
} unproved SEC(".maps");

#define CHARGED 0 /* not a reason to refuse: REASON_PASS_OFF is never one */

/* charge takes a cost off a quota. Another CPU may move the arrival time in between: then it is
 * tried again, and after cas_tries the packet is refused, which never admits too much.
 */
static __always_inline __u32 charge(__u64 *tat, __u64 now, __u64 cost, __u64 limit, __u32 refused)
{
	for (__u32 i = 0; i < CAS_TRIES && i < cas_tries; i++) {
		__u64 old = *(volatile __u64 *)tat;
		__u64 new = gcra(old, now, cost, limit);

		if (new == 0)
			return refused;
		if (__sync_val_compare_and_swap(tat, old, new) == old)
			return CHARGED;
	}
	return REASON_CONTENTION;
}

/* refund takes a charge back: the time is what it would be without it. */
static __always_inline void refund(__u64 *tat, __u64 cost)
{
	__sync_fetch_and_add(tat, -cost);
}

static __always_inline __u32 charge_connection(struct slot *s, const struct level *l, __u64 now)
{
	__u32 refused;

	if (l->connections.interval) {
		refused = charge(&s->connection_tat, now, l->connections.interval,
				 l->connections.limit, REASON_QUOTA_CONNECTIONS);
		if (refused)
			return refused;
	}
	if (l->concurrent && !held_reserve(&s->held, now >> TICK_SHIFT, l->concurrent)) {
		if (l->connections.interval)
			refund(&s->connection_tat, l->connections.interval);
		return REASON_QUOTA_CONCURRENT;
	}
	return CHARGED;
}

/* charge_packet takes a packet off a level's quotas of packets and bytes, or off none. */
static __always_inline __u32 charge_packet(struct slot *s, const struct level *l, __u32 length,
					   __u64 now)
{
	__u64 cost = 0;
	__u32 refused;

	if (l->bytes.mult)
		cost = byte_cost(length, l->bytes.mult, l->bytes.shift);
	if (l->bytes.mult && gcra(*(volatile __u64 *)&s->byte_tat, now, cost, l->bytes.limit) == 0)
		return REASON_QUOTA_BYTES;
	if (l->packets.interval) {
		refused = charge(&s->packet_tat, now, l->packets.interval, l->packets.limit,
				 REASON_QUOTA_PACKETS);
		if (refused)
			return refused;
	}
	if (!l->bytes.mult)
		return CHARGED;
	refused = charge(&s->byte_tat, now, cost, l->bytes.limit, REASON_QUOTA_BYTES);
	if (refused && l->packets.interval)
		refund(&s->packet_tat, l->packets.interval);
	return refused;
}

static __always_inline void refund_packet(struct slot *s, const struct level *l, __u32 length)
{
	if (l->packets.interval)
		refund(&s->packet_tat, l->packets.interval);
	if (l->bytes.mult)
		refund(&s->byte_tat, byte_cost(length, l->bytes.mult, l->bytes.shift));
}

/* charge_slot takes a packet off all quotas of a level, or off none. Like all functions here that
 * are not static it is verified by itself, once, and not on each way to it.
 */
__noinline int charge_slot(struct slot *s, const struct level *l, __u32 length, int is_new,
			   __u64 now)
{
	__u32 refused;

	if (!s || !l)
		return REASON_CONTENTION;
	refused = charge_packet(s, l, length, now);
	if (refused || !is_new)
		return refused;
	refused = charge_connection(s, l, now);
	if (refused)
		refund_packet(s, l, length);
	return refused;
}

/* refund_slot takes back what charge_slot took. */
static __always_inline void refund_slot(struct slot *s, const struct level *l, __u32 length,
					int is_new, __u64 now)
{
	refund_packet(s, l, length);
	if (is_new && l->connections.interval)
		refund(&s->connection_tat, l->connections.interval);
	if (is_new && l->concurrent)
		held_return(&s->held, now >> TICK_SHIFT);
}

/* spend takes a cost off a budget that all CPUs share. Each takes a lease off it at once and
 * spends that alone; when the budget is used up it does not ask again before there is another
 * lease to be had. So a flood costs the shared word nothing, and no more passes than the budget:
 * user space takes the leases of all CPUs off its limit. Returns 1 if there was enough.
 */
static __always_inline int spend(struct purse *purse, __u64 *tat, __u64 now, __u64 cost,
				 __u64 limit, __u64 lease)
{
	__u64 old, new;

	if (purse->left >= cost) {
		purse->left -= cost;
		return 1;
	}
	if (now < purse->until)
		return 0;
	if (lease < cost)
		lease = cost;
	for (__u32 i = 0; i < CAS_TRIES && i < cas_tries; i++) {
		old = *(volatile __u64 *)tat;
		new = gcra(old, now, lease, limit);
		if (new == 0) {
			purse->until = old + lease - limit;
			return 0;
		}
		if (__sync_val_compare_and_swap(tat, old, new) == old) {
			purse->left += lease - cost;
			return 1;
		}
	}
	return 0;
}

/* spent says that spend would refuse, whatever else: nothing is left, and it is not to ask. */
static __always_inline int spent(const struct purse *purse, __u64 now, __u64 cost)
{
	return purse->left < cost && now < purse->until;
}

/* charge_budgets charges the class's budgets for those without slot or proof. */
__noinline int charge_budgets(const struct class *class, __u32 class_id, __u32 length, __u64 now)
{
	struct purses *purses = bpf_map_lookup_elem(&cpu_purses, &class_id);
	struct pool *pool = bpf_map_lookup_elem(&pools, &class_id);
	__u64 cost;

	if (!class || !purses || !pool) /* class_id is masked: never */
		return 0;
	if (class->unproved_packets.interval &&
	    !spend(&purses->packets, &pool->packets, now, class->unproved_packets.interval,
		   class->unproved_packets.limit, class->lease))
		return 0;
	if (!class->unproved_bytes.mult)
		return 1;
	cost = byte_cost(length, class->unproved_bytes.mult, class->unproved_bytes.shift);
	if (spend(&purses->bytes, &pool->bytes, now, cost, class->unproved_bytes.limit,
		  class->lease))
		return 1;
	purses->packets.left += class->unproved_packets.interval;
	return 0;
}

/* budgets_spent says that charge_budgets would refuse, as it does nearly each packet of a flood. */
static __always_inline int budgets_spent(const struct class *class, __u32 class_id, __u32 length,
					 __u64 now)
{
	struct purses *purses = bpf_map_lookup_elem(&cpu_purses, &class_id);
	__u64 cost;

	if (!purses) /* class_id is masked: never */
		return 1;
	if (class->unproved_packets.interval &&
	    spent(&purses->packets, now, class->unproved_packets.interval))
		return 1;
	if (!class->unproved_bytes.mult)
		return 0;
	cost = byte_cost(length, class->unproved_bytes.mult, class->unproved_bytes.shift);
	return spent(&purses->bytes, now, cost);
}

/* charge_syn charges the class's budget of SYNs that pass without proof. */
static __always_inline int charge_syn(const struct class *class, __u32 class_id, __u64 now)
{
	struct purses *purses = bpf_map_lookup_elem(&cpu_purses, &class_id);
	struct pool *pool = bpf_map_lookup_elem(&pools, &class_id);

	if (!class->unproved_syns.interval)
		return 1;
	if (!purses || !pool) /* class_id is masked: never */
		return 0;
	return spend(&purses->syns, &pool->syns, now, class->unproved_syns.interval,
		     class->unproved_syns.limit, class->lease);
}

static __always_inline __u64 *sketch_cell(struct sketch *s, __u64 hash, __u32 row)
{
	__u32 column = (hash >> (14 * row)) & (SKETCH_COLUMNS - 1);

	return &s->cell[row][column];
}

/* sketched is what a source owes by this CPU's sketch: its cells' least. */
static __always_inline __u64 sketched(struct sketch *s, __u64 hash)
{
	__u64 least = ~0ULL;

	for (__u32 row = 0; row < SKETCH_ROWS; row++) {
		__u64 tat = *sketch_cell(s, hash, row);

		if (tat < least)
			least = tat;
	}
	return least;
}

/* sketch_charge raises a source's cells to what it owes now (a count-min sketch with conservative
 * update, Estan and Varghese 2002, whose counters are arrival times and so run down by
 * themselves).
 */
static __always_inline void sketch_charge(struct sketch *s, __u64 hash, __u64 tat)
{
	for (__u32 row = 0; row < SKETCH_ROWS; row++) {
		__u64 *cell = sketch_cell(s, hash, row);

		if (*cell < tat)
			*cell = tat;
	}
}

static __always_inline struct sketch *own_sketch(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	if (cpu >= sketches) /* it was made for all CPUs that can come online */
		cpu = 0;
	return bpf_map_lookup_elem(&unproved, &cpu);
}

#endif
