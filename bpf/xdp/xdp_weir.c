//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* xdp_weir charges every packet to its client and drops what is over the quotas. */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "../include/abi.h"
#include "../include/charge.h"
#include "../include/cookie.h"
#include "../include/parse.h"
#include "../include/table.h"
#include "../include/verdict.h"

/* Set before load. */
const volatile __u8 coarse_clock = 0; /* see clock */
const volatile __u8 test_clock = 0; /* only in tests */

/* The time in tests, ns. Writer: a test. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} test_ns SEC(".maps");

/* Puts the enums into BTF, from where the Go types are made. */
const enum mode *unused_mode __attribute__((unused));
const enum reason *unused_reason __attribute__((unused));
const enum action *unused_action __attribute__((unused));
const enum event *unused_event __attribute__((unused));
const struct prefix *unused_prefix __attribute__((unused));
const struct listed *unused_listed __attribute__((unused));
const struct sample *unused_sample __attribute__((unused));

/* What a CPU remembers. */
struct own {
	__u64 jiffies; /* its coarse clock: the time at its first packet of a tick of the kernel */
	__u64 ns;
	__u64 last; /* key of the last plain packet's source */
	__u64 known; /* whether that had a slot, and so will the next one's, most likely */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct own);
} owns SEC(".maps");

static __always_inline struct own *own_memory(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&owns, &zero);
}

/* coarse_ns costs no call, unlike the kernel's coarse clock. */
static __always_inline __u64 coarse_ns(void)
{
	__u64 now = bpf_jiffies64();
	struct own *own = own_memory();

	if (!own)
		return 0;
	if (own->jiffies != now) {
		own->jiffies = now;
		own->ns = bpf_ktime_get_ns();
	}
	return own->ns;
}

/* clock is the time, ticks. The coarse clock costs nearly nothing instead of 25 to 60 ns, and steps
 * by a tick of the kernel, 1 to 10 ms: within one a client that keeps to its rate uses up a small
 * burst, and its quota is exact to that many packets.
 */
static __always_inline __u64 clock(int coarse)
{
	__u32 zero = 0;

	if (test_clock) {
		__u64 *ns = bpf_map_lookup_elem(&test_ns, &zero);

		return ns ? *(volatile __u64 *)ns << TICK_SHIFT : 0;
	}
	return (coarse ? coarse_ns() : bpf_ktime_get_ns()) << TICK_SHIFT;
}

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

/* unproved_tcp decides about the other TCP packets of a source without a slot. One of them may
 * bring a cookie back. The source's connection is charged here, since no SYN of it was.
 */
static __always_inline __u32 unproved_tcp(struct xdp_md *ctx, const struct packet *p, __u64 key,
					  union terms t, union policy_word policy,
					  struct class *class, __u64 now)
{
	__u64 ns = now >> TICK_SHIFT;
	__u32 class_id = t.class_id & (MAX_CLASSES - 1), reason;
	struct set *set;
	struct slot *s;
	int own;

	if (!has_cookies || (p->is & (IS_PLAIN | IS_FRAGMENT)) != IS_PLAIN ||
	    (p->tcp & (TCP_ACK | TCP_SYN | TCP_RST)) != TCP_ACK || !cookies_expected(ns) ||
	    !is_cookie(ctx, p->l3, client_is_ipv4(&p->source))) {
		if (policy.is.mode == MODE_UNDER_ATTACK &&
		    (p->tcp & (TCP_SYN | TCP_ACK)) != (TCP_SYN | TCP_ACK))
			return REASON_OUT_OF_STATE;
		return charge_other(p, class, class_id, key, now);
	}
	own = prove(p, key, t.word, now);
	set = set_of(key);
	if (own < 0 || !set)
		return charge_total(p, class, class_id, now);
	s = slot_at(set, own);
	reason = proved(p, set, own, policy.word, now);
	if (reason != REASON_PASS_QUOTA ||
	    level_bits(&class->client, &p->source) < own_bits(&p->source))
		return reason;
	reason = charge_connection(s, &class->client, now);
	if (reason == CHARGED)
		return REASON_PASS_COOKIE;
	s->dropped++;
	s->reason = reason;
	return reason;
}

/* unproved_source decides about a packet whose source has no slot by its key. */
__noinline int unproved_source(struct xdp_md *ctx, const struct packet *p, __u64 key, __u64 word)
{
	union policy_word policy = {.word = word};
	struct class *class;
	__u32 class_id;
	union terms t;
	__u64 now;
	int own;

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
		own = prove(p, key, t.word, now);
		if (own < 0)
			return charge_total(p, class, class_id, now);
		return proved(p, set_of(key), own, word, now);
	}
	if (is_syn(p))
		return unproved_syn(ctx, p, class, class_id, policy, key, now);
	if (p->tcp)
		return unproved_tcp(ctx, p, key, t, policy, class, now);
	return charge_other(p, class, class_id, key, now);
}

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
	if (own->known)
		(void)*(volatile __u64 *)&slot_at(f->set, home(f->key))->seen;
	else if (is_any_listed(&p->source, policy))
		head_of(&p->source, policy);
}

/* judge charges a packet that was parsed, and says why it passes or not. */
static __always_inline __u32 judge(struct xdp_md *ctx, struct packet *p, union policy_word policy,
				   __u64 pass)
{
	struct found f = {};

	if (p->is & IS_NEIGHBOR)
		return REASON_PASS_NEIGHBOR;
	if (p->is & IS_FRAGMENT && !(pass & BIT(REASON_FRAGMENT)))
		return REASON_FRAGMENT;
	find_source_set(&f, &p->source);
	if (!f.set) /* set_mask and max_entries are set together: never */
		return REASON_TABLE_PRESSURE;
	find_own(&f);
	if (f.own != SET_SLOTS)
		return proved(p, f.set, f.own, policy.word, clock(coarse_clock));
	return unproved_source(ctx, p, f.key, policy.word);
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
		return unproved_source(ctx, copy, f.key, policy.word);
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
	__u32 length = packet_length(ctx), reason;
	struct packet p = {.length = length}, copy;

	if (policy.is.mode == MODE_OFF)
		return count(ACTION_PASS, REASON_PASS_OFF, length);
	if (parse_plain(ctx, &p)) {
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
