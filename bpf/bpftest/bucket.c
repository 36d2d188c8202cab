//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Runs bucket.h on the numbers in a packet, to hold it to the golden vectors. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
#include "../include/bucket.h"

struct numbers {
	struct ethhdr eth;
	__u8 pad[2];
	__u64 cost, limit, tat, now, next, clamped;
	__u64 bytes, mult, shift, byte_cost;
};

SEC("xdp")
int bucket(struct xdp_md *ctx)
{
	struct numbers *n = (void *)(long)ctx->data;

	if ((void *)(n + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	n->next = gcra(n->tat, n->now, n->cost, n->limit);
	n->clamped = gcra_clamp(n->tat, n->now, n->limit);
	n->byte_cost = byte_cost(n->bytes, n->mult, n->shift);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
