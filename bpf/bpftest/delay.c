//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Takes a known time over a packet, and tells which bucket of hist.h a duration is of: what tracers
 * are held to.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>

#define HISTS 1

#include "../include/hist.h"

/* Set before load. */
const volatile __u64 delay_ns = 0;

#define MOST_LOOPS (1 << 22)

static long is_over(__u32 i __attribute__((unused)), void *until)
{
	return bpf_ktime_get_ns() >= *(__u64 *)until;
}

SEC("xdp")
int delay(void *ctx __attribute__((unused)))
{
	__u64 until = bpf_ktime_get_ns() + delay_ns;

	bpf_loop(MOST_LOOPS, is_over, &until, 0);
	return XDP_PASS;
}

struct durations {
	struct ethhdr eth;
	__u8 pad[2];
	__u64 ns, bucket;
};

SEC("xdp")
int bucket_of(struct xdp_md *ctx)
{
	struct durations *d = (void *)(long)ctx->data;

	if ((void *)(d + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	d->bucket = hist_bucket(d->ns);
	hist_add(0, 0, d->ns, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
