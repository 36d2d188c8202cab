/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Clients that user space has cut below their quotas for a time, as they kept asking for more than
 * theirs above XDP: new connections are refused, and of the packets a few pass, so that it can be
 * told why, and its connections can end.
 */
#ifndef WEIR_ESCALATED_H
#define WEIR_ESCALATED_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "charge.h"
#include "clock.h"
#include "parse.h"
#include "proved.h"
#include "table.h"

/* Who is escalated, by the key of the client's slot, which it may or may not have. Writer: user
 * space, and the programs as struct escalation says. An entry holds until its time, whether user
 * space is there to take it off or not. Full: user space is told, and counts it. max_entries is set
 * before load.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct escalation);
} escalations SEC(".maps");

static __always_inline int escalation_holds(const struct escalation *e, __u64 now)
{
	return *(volatile __u64 *)&e->until > now >> TICK_SHIFT;
}

/* charge_escalation takes a packet off what an escalated client may send: CHARGED, or why not. */
static __always_inline __u32 charge_escalation(struct escalation *e, int is_new, __u64 now)
{
	__u32 refused = REASON_ESCALATED;

	if (is_new && e->flags & ESCALATION_REFUSES_NEW) {
		__sync_fetch_and_add(&e->refused, 1);
		refused = REASON_ESCALATED_SYN;
	} else if (e->packets.interval) {
		refused = charge(&e->tat, now, e->packets.interval, e->packets.limit,
				 REASON_ESCALATED);
	}
	if (refused)
		__sync_fetch_and_add(&e->dropped, 1);
	return refused;
}

/* judge_escalated refuses a packet of an address that is escalated, or says NEXT: then its quotas
 * are asked as ever. The operator's lists come first. It is not asked about connections that are
 * bound to an identity, so those behind the address who have one keep theirs; a new connection of
 * theirs is not told from another's.
 */
static __noinline int judge_escalated(const struct packet *p, __u64 word)
{
	union policy_word policy = {.word = word};
	struct escalation *e;
	struct client own;
	struct found f;
	__u64 key, now;
	__u32 reason;

	client_cut(&own, &p->source, ipv4_bits, ipv6_bits);
	key = client_hash(&own, own_bits(&p->source)) | SLOT_TAKEN;
	e = bpf_map_lookup_elem(&escalations, &key);
	if (!e) /* as of most: they do not pay for the clock once more */
		return NEXT;
	now = clock(coarse_clock);
	if (!escalation_holds(e, now) || look_up(&p->source, policy).flags)
		return NEXT;
	reason = charge_escalation(e, is_syn(p), now);
	if (reason == CHARGED)
		return NEXT;
	find_set(&f, key);
	if (!f.set) /* set_mask and max_entries are set together: never */
		return reason;
	find_own(&f);
	if (f.own == SET_SLOTS)
		return reason;
	touch(slot_at(f.set, f.own), now);
	return refuse(f.set, f.own, policy, reason);
}

#endif
