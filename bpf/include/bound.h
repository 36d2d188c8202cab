/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connections that are charged to an identity instead of to the address they come from, so that
 * those behind one address do not share a fate.
 */
#ifndef WEIR_BOUND_H
#define WEIR_BOUND_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "charge.h"
#include "clock.h"
#include "escalated.h"
#include "parse.h"
#include "proved.h"
#include "table.h"

/* Which class a label is, in each generation. Writer: user space, of the generation that does not
 * hold, so that the switch of the policy is that of the bindings' classes as well.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_LABELS);
	__type(key, __u32);
	__type(value, struct label);
} class_labels SEC(".maps");

/* binding_of is that of the connection that a TCP packet is of, NULL if it has none. It reads the
 * addresses and ports once more: no other packet has them told.
 */
static __noinline struct binding *binding_of(struct xdp_md *ctx, const struct packet *p)
{
	struct tuple t = {};
	struct cursor cur;
	struct tcphdr *tcp;
	struct iphdr *ip;
	__u32 l4;

	cursor_at(&cur, ctx, p->l3);
	ip = cur.pos;
	if ((void *)(ip + 1) > cur.end)
		return NULL;
	if (ip->version == 4) {
		client_ipv4(&t.local, ip->daddr);
		l4 = p->l3 + ip->ihl * 4;
	} else {
		struct ipv6hdr *ip6 = cur.pos;

		if ((void *)(ip6 + 1) > cur.end)
			return NULL;
		client_ipv6(&t.local, ip6->daddr.in6_u.u6_addr32);
		l4 = p->l4 ? p->l4 : p->l3 + sizeof(*ip6);
	}
	cursor_at(&cur, ctx, l4);
	tcp = cur.pos;
	if ((void *)(tcp + 1) > cur.end)
		return NULL;
	t.remote = p->source;
	t.remote_port = bpf_ntohs(tcp->source);
	t.local_port = bpf_ntohs(tcp->dest);
	return bpf_map_lookup_elem(&bindings, &t);
}

/* A binding's epoch, label and flags, read and written as one word so that they fit together. */
union bound {
	__u64 word;
	struct {
		__u32 epoch;
		__u16 label;
		__u8 flags;
		__u8 pad;
	};
};

_Static_assert(__builtin_offsetof(struct binding, epoch) == 24 && sizeof(union bound) == 8,
	       "it is a word of the binding");

/* bound_terms is a binding's label, and what is listed of the address, asked anew under a new
 * policy. */
static __always_inline union bound bound_terms(struct binding *b, const struct client *source,
					       union policy_word policy)
{
	union bound t = {.word = *(volatile __u64 *)&b->epoch};

	if (t.epoch == policy.is.epoch)
		return t;
	t.epoch = policy.is.epoch;
	t.flags = look_up(source, policy).flags;
	*(volatile __u64 *)&b->epoch = t.word;
	return t;
}

static __always_inline __u32 class_of_label(__u32 label, union policy_word policy)
{
	struct label *l = bpf_map_lookup_elem(&class_labels, &label);

	return l ? l->class_id[policy.is.generation & (GENERATIONS - 1)] & (MAX_CLASSES - 1) : 0;
}

/* find_identity is the slot of an identity, taken if need be: its connection was established, which
 * is proof. -1 if there is no room. One of another epoch, or of another class by another token, is
 * brought under the class's quotas.
 */
static __noinline int find_identity(struct found *f, const struct binding *b,
				    const struct class *class, __u64 now, __u64 terms)
{
	union terms t = {.word = terms}, old;

	find_set(f, b->key);
	if (!f->set) /* set_mask and max_entries are set together: never */
		return -1;
	find_own(f);
	if (f->own == SET_SLOTS)
		find_free(f, now);
	if (f->own == SET_SLOTS) {
		if (f->free != SET_SLOTS && take(f, &b->name, SLOT_IDENTITY, now, t.word) == 0)
			return 0;
		count_event(EVENT_SLOT_LOST);
		return -1;
	}
	old = slot_terms(slot_at(f->set, f->own));
	if (old.epoch == t.epoch && old.class_id == t.class_id)
		return 0;
	clamp_slot(slot_at(f->set, f->own), &class->client, now);
	t.bits = old.bits;
	t.reason = old.reason;
	slot_set_terms(slot_at(f->set, f->own), t);
	return 0;
}

/* charge_identity charges a packet to the slot of its identity, then to the aggregate of its class,
 * if that has one. An identity is no way out of what a prefix may send in all: where accounts are
 * free, one who has many would have no bound. Those of a class without an aggregate, whose clients
 * sit behind one address in thousands, share nothing. The width of the class's clients is not
 * asked: an identity is one.
 */
static __always_inline __u32 charge_identity(const struct packet *p, struct slot *s,
					     struct class *class, __u32 class_id, __u64 word,
					     __u64 now)
{
	__u32 refused = charge_slot(s, &class->client, p->length, 0, now);

	if (refused || level_bits(&class->aggregate, &p->source) == 0)
		return refused;
	refused = charge_aggregate(p, class, class_id, word, now);
	if (refused)
		refund_slot(s, &class->client, p->length, 0, now);
	return refused;
}

/* judge_bound decides about a packet of a bound connection. The operator's lists, which are of
 * addresses, come first; then the identity's escalation, if it has one; then its quotas.
 */
static __noinline int judge_bound(const struct packet *p, struct binding *b, __u64 word)
{
	union policy_word policy = {.word = word};
	union bound bound = bound_terms(b, &p->source, policy);
	__u32 class_id = class_of_label(bound.label, policy), reason = CHARGED;
	union terms t = {.epoch = policy.is.epoch, .class_id = class_id};
	struct class *class = class_of(policy, class_id);
	struct escalation *e = NULL;
	struct found f;
	__u64 now;

	if (bound.flags & SLOT_ALLOWED)
		return REASON_PASS_ALLOWED;
	if (bound.flags & SLOT_DENIED || !class)
		return REASON_DENIED;
	now = clock(coarse_clock);
	if (policy.is.flags & POLICY_ESCALATED)
		e = bpf_map_lookup_elem(&escalations, &b->key);
	if (e && escalation_holds(e, now))
		reason = charge_escalation(e, 0, now);
	if (find_identity(&f, b, class, now, t.word) != 0)
		return reason ? reason : charge_total(p, class, class_id, now);
	touch(slot_at(f.set, f.own), now);
	if (reason == CHARGED)
		reason = charge_identity(p, slot_at(f.set, f.own), class, class_id, policy.word,
					 now);
	return reason == CHARGED ? REASON_PASS_QUOTA : refuse(f.set, f.own, policy, reason);
}

/* may_be_bound says that a packet is one of an established TCP connection: a SYN is before anybody
 * can have bound it, and a later fragment does not say which one it is of.
 */
static __always_inline int may_be_bound(const struct packet *p)
{
	return p->tcp && !(p->tcp & TCP_SYN);
}

/* is_told says that judge_told is to be asked. Where user space has told nothing of any client, as
 * the policy's word has it, no map is looked at.
 */
static __always_inline int is_told(const struct packet *p, union policy_word policy)
{
	return policy.is.flags & POLICY_ESCALATED ||
	       (policy.is.flags & POLICY_BOUND && may_be_bound(p));
}

/* judge_told decides by what user space has told of clients: whose a connection is, and who is
 * escalated. NEXT: nothing that holds for this packet.
 */
__noinline int judge_told(struct xdp_md *ctx, const struct packet *p, __u64 word)
{
	union policy_word policy = {.word = word};
	struct binding *b = NULL;

	if (!p)
		return NEXT;
	if (policy.is.flags & POLICY_BOUND && may_be_bound(p))
		b = binding_of(ctx, p);
	if (b)
		return judge_bound(p, b, word);
	if (policy.is.flags & POLICY_ESCALATED)
		return judge_escalated(p, word);
	return NEXT;
}

#endif
