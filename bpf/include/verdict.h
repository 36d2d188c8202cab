/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The one exit: what becomes of a packet, its count, and a sample of it if somebody listens. */
#ifndef WEIR_VERDICT_H
#define WEIR_VERDICT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "table.h"

/* Set before load: the kernel has bpf_xdp_get_buff_len and bpf_xdp_load_bytes (5.18). */
const volatile __u8 has_frags = 0;

/* What passes in all modes. The reasons that a policy's rules.pass adds are those that the parser
 * gives.
 */
#define BIT(n) (1ULL << (n))
#define ALWAYS_PASS                                                                                \
	(BIT(REASON_PASS_OFF) | BIT(REASON_PASS_NOT_IP) | BIT(REASON_PASS_ALLOWED) |               \
	 BIT(REASON_PASS_QUOTA) | BIT(REASON_PASS_TOTAL) | BIT(REASON_PASS_UNPROVED) |             \
	 BIT(REASON_PASS_COOKIE) | BIT(REASON_PASS_NEIGHBOR))

/* Packets and bytes by action and reason: entry action * MAX_REASONS + reason. Writer: the
 * program, each CPU its own. Reader: user space.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ACTION_MAX *MAX_REASONS);
	__type(key, __u32);
	__type(value, struct counter);
} verdict_stats SEC(".maps");

/* Samples of what is refused. Writer: the program, at most policy.samples per reason, CPU and
 * second. Reader: user space. Full: the sample counts as missed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_REASONS);
	__type(key, __u32);
	__type(value, struct sampling);
} sampled SEC(".maps");

static __always_inline __u32 packet_length(struct xdp_md *ctx)
{
	if (has_frags)
		return bpf_xdp_get_buff_len(ctx);
	return ctx->data_end - ctx->data;
}

/* copy_packet copies the first bytes of a packet: how many. */
static __always_inline __u32 copy_packet(struct xdp_md *ctx, __u8 *to)
{
	void *from = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 i;

	for (i = 0; i + 8 <= SAMPLE_BYTES && from + i + 8 <= end; i += 8)
		__builtin_memcpy(to + i, from + i, 8);
	if (i >= SAMPLE_BYTES)
		return SAMPLE_BYTES;
	for (__u32 step = 4; step > 0; step /= 2) {
		if (i + step <= SAMPLE_BYTES && from + i + step <= end) {
			for (__u32 j = 0; j < step; j++)
				to[i + j] = ((__u8 *)from)[i + j];
			i += step;
		}
	}
	return i;
}

__noinline int take_sample(struct xdp_md *ctx, __u32 action, __u32 reason, __u32 most)
{
	__u64 ns = bpf_ktime_get_ns();
	struct sampling *n = bpf_map_lookup_elem(&sampled, &reason);
	struct sample *s;

	if (!n)
		return 0;
	if (n->second != ns >> 30) {
		n->second = ns >> 30;
		n->taken = 0;
	}
	s = n->taken < most ? bpf_ringbuf_reserve(&samples, sizeof(*s), 0) : NULL;
	if (!s) {
		n->missed++;
		n->total++;
		return 0;
	}
	n->taken++;
	s->ns = ns;
	s->missed = n->missed;
	n->missed = 0;
	s->ifindex = ctx->ingress_ifindex;
	s->queue = ctx->rx_queue_index;
	s->length = packet_length(ctx);
	s->reason = reason;
	s->action = action;
	s->captured = copy_packet(ctx, s->data);
	bpf_ringbuf_submit(s, 0);
	return 0;
}

static __always_inline int count(__u32 action, __u32 reason, __u32 length)
{
	__u32 index = action * MAX_REASONS + reason;
	struct counter *n = bpf_map_lookup_elem(&verdict_stats, &index);

	if (n) {
		n->packets++;
		n->bytes += length;
	}
	return action == ACTION_PASS ? XDP_PASS : action == ACTION_DROP ? XDP_DROP : XDP_TX;
}

/* passes is the bits of the reasons that the policy passes beside those. */
static __always_inline __u64 passes(union policy_word policy)
{
	__u32 generation = policy.is.generation & (GENERATIONS - 1);
	struct rules *r = bpf_map_lookup_elem(&policy_rules, &generation);

	return r ? r->pass : 0;
}

/* verdict says what becomes of a packet for a reason. */
static __always_inline int verdict(struct xdp_md *ctx, union policy_word p, __u32 reason,
				   __u32 length)
{
	__u32 action = ACTION_DROP;

	reason &= MAX_REASONS - 1;
	if (ALWAYS_PASS >> reason & 1 || passes(p) >> reason & 1)
		return count(ACTION_PASS, reason, length);
	if (p.is.mode == MODE_SHADOW)
		action = ACTION_PASS;
	else if (reason == REASON_COOKIE_SENT)
		return count(ACTION_ANSWER, reason, length);
	if (p.is.samples)
		take_sample(ctx, action, reason, p.is.samples);
	return count(action, reason, length);
}

#endif
