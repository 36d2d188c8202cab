/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets of clients that have a slot. */
#ifndef WEIR_PROVED_H
#define WEIR_PROVED_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "charge.h"
#include "parse.h"
#include "table.h"

/* renew brings a slot to the policy that holds: its client's class may be another one, or have
 * other quotas, under which it cannot owe as much as under the old ones.
 */
__noinline __u64 renew(struct slot *s, const struct client *c, __u64 now, __u64 word)
{
	union policy_word p = {.word = word};
	union terms t = {}, old;
	struct class *class;

	if (!s || !c)
		return 0;
	old = slot_terms(s);
	t = look_up(c, p);
	class = class_of(p, t.class_id);
	t.bits = old.bits;
	t.reason = old.reason;
	if (class)
		clamp_slot(s, &class->client, now);
	slot_set_terms(s, t);
	return t.word;
}

static __always_inline int is_syn(const struct packet *p)
{
	return (p->tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline void touch(struct slot *s, __u64 now)
{
	s->packets++;
	s->seen = now >> TICK_SHIFT;
}

/* refuse notes on a client's slot why a packet of it is refused: the reason. */
static __always_inline __u32 refuse(struct set *set, __u32 own, union policy_word policy,
				    __u32 reason)
{
	struct slot *s = slot_at(set, own);

	s->dropped++;
	s->reason = reason;
	if (policy.is.mode == MODE_SHADOW)
		set->spared[own & (SET_SLOTS - 1)]++;
	return reason;
}

/* charge_total charges the class's budgets, for a client that has no slot. */
static __always_inline __u32 charge_total(const struct packet *p, const struct class *class,
					  __u32 class_id, __u64 now)
{
	return charge_budgets(class, class_id, p->length, now) ? REASON_PASS_TOTAL
							       : REASON_TABLE_PRESSURE;
}

/* charge_wide charges the client of a class whose clients are wider than a slot. */
__noinline int charge_wide(const struct packet *p, struct class *class, __u32 class_id, __u64 word,
			   __u64 now)
{
	struct slot *s;

	if (!p || !class)
		return REASON_TABLE_PRESSURE;
	s = find_wide(&p->source, now, word, &class->client, class_id);
	if (!s)
		return charge_total(p, class, class_id, now);
	return charge_slot(s, &class->client, p->length, is_syn(p), now);
}

__noinline int charge_aggregate(const struct packet *p, struct class *class, __u32 class_id,
				__u64 word, __u64 now)
{
	struct slot *s;
	__u32 refused;

	if (!p || !class)
		return REASON_AGGREGATE;
	s = find_wide(&p->source, now, word, &class->aggregate, class_id);
	if (!s)
		return CHARGED; /* its clients' own quotas hold */
	touch(s, now);
	refused = charge_slot(s, &class->aggregate, p->length, is_syn(p), now);
	if (!refused)
		return CHARGED;
	s->dropped++;
	s->reason = refused;
	return REASON_AGGREGATE;
}

static __always_inline __u32 charge_client(const struct packet *p, struct slot *s,
					   struct class *class, __u32 class_id, __u64 word,
					   __u64 now)
{
	__u32 refused;

	if (level_bits(&class->client, &p->source) < own_bits(&p->source))
		return charge_wide(p, class, class_id, word, now);
	refused = charge_slot(s, &class->client, p->length, is_syn(p), now);
	if (refused || level_bits(&class->aggregate, &p->source) == 0)
		return refused;
	refused = charge_aggregate(p, class, class_id, word, now);
	if (refused)
		refund_slot(s, &class->client, p->length, is_syn(p), now);
	return refused;
}

/* proved charges a client that has a slot. */
__noinline int proved(const struct packet *p, struct set *set, __u32 own, __u64 word, __u64 now)
{
	union policy_word policy = {.word = word};
	struct class *class;
	union terms t;
	struct slot *s;
	__u32 reason;

	if (!p || !set)
		return REASON_DENIED;
	s = slot_at(set, own);
	t = slot_terms(s);
	if (t.epoch != policy.is.epoch)
		t.word = renew(s, &p->source, now, word);
	touch(s, now);
	if (t.flags & SLOT_ALLOWED)
		return REASON_PASS_ALLOWED;
	class = class_of(policy, t.class_id);
	if (t.flags & SLOT_DENIED || !class)
		reason = REASON_DENIED;
	else
		reason = charge_client(p, s, class, t.class_id & (MAX_CLASSES - 1), word, now);
	if (reason == CHARGED || reason == REASON_PASS_TOTAL)
		return reason == CHARGED ? REASON_PASS_QUOTA : reason;
	return refuse(set, own, policy, reason);
}

#endif
