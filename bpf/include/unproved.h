/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets of sources without a slot: budgets, cookies, and how they come to one. */
#ifndef WEIR_UNPROVED_H
#define WEIR_UNPROVED_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "charge.h"
#include "clock.h"
#include "cookie.h"
#include "parse.h"
#include "proved.h"
#include "table.h"

/* charge_source charges an unproved source by the sketch, and the class's budgets. A SYN is
 * charged under the class's quota of new connections, if it has one, so that a source cannot open
 * more of them at once than it may before it is known.
 */
__noinline int charge_source(const struct packet *p, const struct class *class, __u32 class_id,
			     __u64 hash, __u64 now)
{
	struct sketch *s = own_sketch();
	const struct quota *quota;
	__u64 tat = 0;

	if (!p || !class)
		return REASON_UNPROVED_TOTAL;
	quota = &class->client.packets;
	if (!s) /* there is one for each CPU: never */
		return REASON_UNPROVED_TOTAL;
	if (is_syn(p) && class->client.connections.interval) {
		quota = &class->client.connections;
		hash = mix(hash);
	}
	if (quota->interval) {
		tat = gcra(gcra_clamp(sketched(s, hash), now, quota->limit), now, quota->interval,
			   quota->limit);
		if (tat == 0)
			return REASON_UNPROVED_SOURCE;
	}
	if (is_syn(p)) {
		if (!charge_syn(class, class_id, now))
			return REASON_SYN_FLOOD;
	} else if (!charge_budgets(class, class_id, p->length, now)) {
		return REASON_UNPROVED_TOTAL;
	}
	if (quota->interval)
		sketch_charge(s, hash, tat);
	return REASON_PASS_UNPROVED;
}

/* charge_other is charge_source for what is no SYN. Under a flood the budget is asked first, which
 * is on a line of cache that this CPU has.
 */
static __always_inline __u32 charge_other(const struct packet *p, const struct class *class,
					  __u32 class_id, __u64 hash, __u64 now)
{
	if (budgets_spent(class, class_id, p->length, now))
		return REASON_UNPROVED_TOTAL;
	return charge_source(p, class, class_id, hash, now);
}

/* answer answers a SYN with a cookie, where that can be done; else it is refused for a reason. */
static __always_inline __u32 answer(struct xdp_md *ctx, const struct packet *p,
				    union policy_word policy, __u32 refused, __u64 ns)
{
	int err;

	if (!has_cookies || (p->is & (IS_PLAIN | IS_FRAGMENT)) != IS_PLAIN)
		return refused;
	if (policy.is.mode == MODE_SHADOW)
		return is_stamped(p->port, ns) ? REASON_COOKIE_SENT : refused;
	err = client_is_ipv4(&p->source) ? answer_ipv4(ctx, p->l3, p->length, ns)
					 : answer_ipv6(ctx, p->l3, p->length, ns);
	if (err)
		return refused;
	expect_cookies(ns);
	return REASON_COOKIE_SENT;
}

/* unproved_syn decides about the SYN of a source without a slot. One that no budget is left for is
 * answered with a cookie, and so are all for a while after it: whether a source gets through is
 * then a question of its return path alone. One whose source is over its quota by the sketch is
 * answered as well: others may have filled its cells, and if none have, its own slot will say so.
 */
static __always_inline __u32 unproved_syn(struct xdp_md *ctx, const struct packet *p,
					  const struct class *class, __u32 class_id,
					  union policy_word policy, __u64 hash, __u64 now)
{
	__u64 ns = now >> TICK_SHIFT;
	__u32 reason = REASON_SYN_FLOOD;

	if (policy.is.mode != MODE_UNDER_ATTACK && !(has_cookies && under_siege(ns))) {
		reason = charge_source(p, class, class_id, hash, now);
		if (reason == REASON_PASS_UNPROVED)
			return reason;
		if (reason == REASON_SYN_FLOOD && has_cookies)
			besiege(ns);
	}
	return answer(ctx, p, policy, reason, ns);
}

/* prove gives the source with a key a slot of its set, for its proof or because its class asks for
 * none: which one, or -1.
 */
__noinline int prove(const struct packet *p, __u64 key, __u64 terms, __u64 now)
{
	struct found f = {};
	struct client own;

	if (!p)
		return -1;
	find_set(&f, key);
	if (!f.set) /* as in judge: never */
		return -1;
	find_free(&f, now);
	if (f.own != SET_SLOTS)
		return f.own;
	client_cut(&own, &p->source, ipv4_bits, ipv6_bits);
	if (f.free != SET_SLOTS && take(&f, &own, own_bits(&p->source), now, terms) == 0)
		return f.own;
	count_event(EVENT_SLOT_LOST);
	return -1;
}

/* Answers of unproved_source that are no reasons: the source has a slot now, for its class asks for
 * no proof, or for the cookie that it brought back.
 */
#define PROVED NEXT
#define CAME_BACK (NEXT + 1)

/* unproved_tcp decides about the other TCP packets of a source without a slot. One of them may
 * bring a cookie back.
 */
static __always_inline __u32 unproved_tcp(struct xdp_md *ctx, const struct packet *p, __u64 key,
					  union terms t, union policy_word policy,
					  struct class *class, __u64 now)
{
	__u64 ns = now >> TICK_SHIFT;
	__u32 class_id = t.class_id & (MAX_CLASSES - 1);

	if (!has_cookies || (p->is & (IS_PLAIN | IS_FRAGMENT)) != IS_PLAIN ||
	    (p->tcp & (TCP_ACK | TCP_SYN | TCP_RST)) != TCP_ACK || !cookies_expected(ns) ||
	    !is_cookie(ctx, p->l3, client_is_ipv4(&p->source))) {
		if (policy.is.mode == MODE_UNDER_ATTACK &&
		    (p->tcp & (TCP_SYN | TCP_ACK)) != (TCP_SYN | TCP_ACK))
			return REASON_OUT_OF_STATE;
		return charge_other(p, class, class_id, key, now);
	}
	if (prove(p, key, t.word, now) < 0)
		return charge_total(p, class, class_id, now);
	return CAME_BACK;
}

/* unproved_source decides about a packet whose source has no slot by its key, or gives it one: a
 * reason, PROVED or CAME_BACK.
 */
__noinline int unproved_source(struct xdp_md *ctx, const struct packet *p, __u64 key, __u64 word)
{
	union policy_word policy = {.word = word};
	struct class *class;
	__u32 class_id;
	union terms t;
	__u64 now;

	if (!p)
		return REASON_UNPROVED_TOTAL;
	t = look_up(&p->source, policy);
	class_id = t.class_id & (MAX_CLASSES - 1);
	class = class_of(policy, t.class_id);
	if (t.flags & SLOT_ALLOWED)
		return REASON_PASS_ALLOWED;
	if (t.flags & SLOT_DENIED || !class)
		return REASON_DENIED;
	now = clock(coarse_clock ||
		    (class->flags & (CLASS_COARSE | CLASS_SLOTS_FOR_ALL)) == CLASS_COARSE);
	if (class->flags & CLASS_SLOTS_FOR_ALL) {
		if (prove(p, key, t.word, now) < 0)
			return charge_total(p, class, class_id, now);
		return PROVED;
	}
	if (is_syn(p))
		return unproved_syn(ctx, p, class, class_id, policy, key, now);
	if (p->tcp)
		return unproved_tcp(ctx, p, key, t, policy, class, now);
	return charge_other(p, class, class_id, key, now);
}

/* came_back charges a client's packet that brought a cookie back, and its connection, since no SYN
 * of it was.
 */
__noinline int came_back(const struct packet *p, struct set *set, __u32 own, __u64 word)
{
	union policy_word policy = {.word = word};
	struct class *class;
	__u32 reason;

	if (!p || !set)
		return REASON_DENIED;
	reason = proved(p, set, own, word, clock(coarse_clock));
	class = class_of(policy, slot_terms(slot_at(set, own)).class_id);
	if (reason != REASON_PASS_QUOTA || !class ||
	    level_bits(&class->client, &p->source) < own_bits(&p->source))
		return reason;
	reason = charge_connection(slot_at(set, own), &class->client, clock(coarse_clock));
	return reason == CHARGED ? REASON_PASS_COOKIE : refuse(set, own, policy, reason);
}

#endif
