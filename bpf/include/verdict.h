/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The one exit: what becomes of a packet, and its count. */
#ifndef WEIR_VERDICT_H
#define WEIR_VERDICT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"

/* Packets and bytes by verdict and reason: passed ones at the reason, dropped ones at
 * REASON_MAX + reason. Writer: the program, each CPU its own. Reader: user space.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * REASON_MAX);
	__type(key, __u32);
	__type(value, struct counter);
} verdict_stats SEC(".maps");

static __always_inline int verdict(struct xdp_md *ctx, __u32 action, __u32 reason)
{
	__u32 index = action == XDP_PASS ? reason : REASON_MAX + reason;
	struct counter *n = bpf_map_lookup_elem(&verdict_stats, &index);

	if (n) {
		n->packets++;
		n->bytes += ctx->data_end - ctx->data;
	}
	return action;
}

#endif
