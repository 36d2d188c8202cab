//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* xdp_weir charges every packet to its client and drops what is over the quotas. */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "../include/abi.h"
#include "../include/bound.h"
#include "../include/clock.h"
#include "../include/cookie.h"
#include "../include/parse.h"
#include "../include/proved.h"
#include "../include/table.h"
#include "../include/unproved.h"
#include "../include/verdict.h"

/* Puts the enums into BTF, from where the Go types are made. */
const enum mode *unused_mode __attribute__((unused));
const enum reason *unused_reason __attribute__((unused));
const enum action *unused_action __attribute__((unused));
const enum event *unused_event __attribute__((unused));
const struct prefix *unused_prefix __attribute__((unused));
const struct listed *unused_listed __attribute__((unused));
const struct sample *unused_sample __attribute__((unused));

static __always_inline void find_source_set(struct found *f, const struct client *source)
{
	struct client own;

	client_cut(&own, source, ipv4_bits, ipv6_bits);
	find_set(f, client_hash(&own, own_bits(source)) | SLOT_TAKEN);
}

/* fetch reads at the same time as the keys what will be needed after them: with many clients none
 * of it is in a cache, and one need not wait for the other. Of the last packet's client it is in
 * one, and reading it would take it off another CPU that is about to write.
 */
static __always_inline void fetch(struct own *own, const struct found *f, const struct packet *p,
				  union policy_word policy)
{
	if (own->last == f->key)
		return;
	own->last = f->key;
	if (!own->known) {
		if (is_any_listed(&p->source, policy))
			head_of(&p->source, policy);
		return;
	}
#pragma unroll
	for (__u32 i = 0; i < SET_SLOTS; i++)
		(void)*(volatile __u64 *)&slot_at(f->set, i)->seen;
}

/* judge_unproved decides about a packet whose source has no slot in the set of its key. */
static __always_inline __u32 judge_unproved(struct xdp_md *ctx, struct packet *p, struct found *f,
					    union policy_word policy)
{
	__u32 reason = unproved_source(ctx, p, f->key, policy.word);

	if (reason != PROVED && reason != CAME_BACK)
		return reason;
	find_own(f);
	if (f->own == SET_SLOTS) /* another CPU has given it away since */
		return REASON_CONTENTION;
	if (reason == CAME_BACK)
		return came_back(p, f->set, f->own, policy.word);
	return proved(p, f->set, f->own, policy.word, clock(coarse_clock));
}

/* judge charges a packet that was parsed, and says why it passes or not. */
static __always_inline __u32 judge(struct xdp_md *ctx, struct packet *p, union policy_word policy,
				   __u64 pass)
{
	struct found f = {};
	__u32 reason;

	if (p->is & IS_NEIGHBOR)
		return REASON_PASS_NEIGHBOR;
	if (p->is & IS_FRAGMENT && !(pass & BIT(REASON_FRAGMENT)))
		return REASON_FRAGMENT;
	if (is_told(p, policy)) {
		reason = judge_told(ctx, p, policy.word);
		if (reason != NEXT)
			return reason;
	}
	find_source_set(&f, &p->source);
	if (!f.set) /* set_mask and max_entries are set together: never */
		return REASON_TABLE_PRESSURE;
	find_own(&f);
	if (f.own != SET_SLOTS)
		return proved(p, f.set, f.own, policy.word, clock(coarse_clock));
	return judge_unproved(ctx, p, &f, policy);
}

/* judge_plain is judge for what most packets are, as parse_plain fills them in: not of a handshake,
 * from a client with a slot of this policy, and with no other slot to charge. Nothing on that way
 * is called but the clock; the rest is handed on, with a copy of p, which stays in registers.
 */
static __always_inline __u32 judge_plain(struct xdp_md *ctx, const struct packet *p,
					 struct packet *copy, union policy_word policy)
{
	struct own *own = own_memory();
	struct found f = {};
	struct class *class;
	union terms t;
	struct slot *s;
	__u32 reason;
	__u64 now = 0;

	find_source_set(&f, &p->source);
	if (!own || !f.set) /* as in judge: never */
		return REASON_TABLE_PRESSURE;
	/* Reading the clock waits for what is being read of the memory: before that, then. */
	if (own->known)
		now = clock(coarse_clock);
	fetch(own, &f, p, policy);
	find_own(&f);
	if (f.own == SET_SLOTS) {
		own->known = 0;
		*copy = *p;
		return judge_unproved(ctx, copy, &f, policy);
	}
	if (!own->known)
		now = clock(coarse_clock);
	own->known = 1;
	s = slot_at(f.set, f.own);
	t = slot_terms(s);
	class = class_of(policy, t.class_id);
	if (t.epoch != policy.is.epoch || t.flags || !class || is_syn(p) ||
	    !(class->flags &
	      (client_is_ipv4(&p->source) ? CLASS_ONE_SLOT_V4 : CLASS_ONE_SLOT_V6))) {
		*copy = *p;
		return proved(copy, f.set, f.own, policy.word, now);
	}
	touch(s, now);
	reason = charge_packet(s, &class->client, p->length, now);
	if (reason == CHARGED)
		return REASON_PASS_QUOTA;
	return refuse(f.set, f.own, policy, reason);
}

/* unparsed decides about a packet that cannot be told: it is dropped, or, if the policy says so for
 * its reason, charged to the budgets of the default class, so that nobody walks around a quota.
 */
static __always_inline __u32 unparsed(const struct packet *p, union policy_word policy, __u64 pass,
				      __u32 reason)
{
	struct class *class = class_of(policy, 0);

	if (reason == REASON_PASS_NOT_IP || !(pass >> (reason & 63) & 1))
		return reason;
	if (class && charge_budgets(class, 0, p->length, clock(coarse_clock)))
		return reason;
	return REASON_UNPROVED_TOTAL;
}

/* judge_any parses and judges any packet, into p. */
static __always_inline __u32 judge_any(struct xdp_md *ctx, struct packet *p,
				       union policy_word policy)
{
	__u64 pass = passes(policy);
	__u32 reason = parse(ctx, p);

	if (reason == NEXT)
		return judge(ctx, p, policy, pass);
	return unparsed(p, policy, pass, reason);
}

SEC("xdp")
int xdp_weir(struct xdp_md *ctx)
{
	union policy_word policy = read_policy();
	__u32 length = packet_length(ctx), reason = NEXT;
	struct packet p = {.length = length}, copy;

	if (policy.is.mode == MODE_OFF)
		return count(ACTION_PASS, REASON_PASS_OFF, length);
	if (parse_plain(ctx, &p)) {
		if (is_told(&p, policy)) {
			copy = p;
			reason = judge_told(ctx, &copy, policy.word);
		}
		if (reason == NEXT)
			reason = judge_plain(ctx, &p, &copy, policy);
	} else {
		copy = (struct packet){.length = length};
		reason = judge_any(ctx, &copy, policy);
	}
	return verdict(ctx, policy, reason, length);
}

/* stamp tells the listener that a SYN is for to expect cookies: 1 if it did. User space runs it,
 * and lets the kernel make one for that moment; it is attached nowhere and judges no packet.
 */
SEC("xdp")
int stamp(struct xdp_md *ctx)
{
	struct cursor cur = {(void *)(long)ctx->data, (void *)(long)ctx->data_end};
	__u64 ns = bpf_ktime_get_ns();
	struct ethhdr *eth = cursor_eth(&cur);
	struct syn syn = {};
	__u32 size;

	if (!eth)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = cursor_ipv4(&cur);

		if (!ip)
			return 0;
		size = copy_syn(&syn, (void *)(ip + 1), cur.end);
		if (size < sizeof(struct tcphdr) || size > TCP_MOST)
			return 0;
		return stamp_ipv4(ctx, ip, &syn, size, ns);
	} else {
		struct ipv6hdr *ip = cursor_ipv6(&cur);

		if (!ip)
			return 0;
		size = copy_syn(&syn, (void *)(ip + 1), cur.end);
		if (size < sizeof(struct tcphdr) || size > TCP_MOST)
			return 0;
		return stamp_ipv6(ctx, ip, &syn, size, ns);
	}
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
