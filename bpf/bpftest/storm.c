//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A spoofed flood beside clients that mean it, on a clock of its own: each run is one packet, some
 * nanoseconds after the one before. Most have a random source; one of so many is the next client's
 * in turn.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Set before load. */
const volatile __u64 step_ns = 500; /* between two packets */
const volatile __u32 every = 512; /* one packet of so many is a client's */
const volatile __u32 clients = 1; /* 10.0.0.0 and up, in turn */

/* The clock that the program under test reads. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} test_ns SEC(".maps");

/* The program under test. Writer: user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

__u32 sent; /* packets in this turn */
__u32 turn; /* the client whose turn it is */

SEC("xdp")
int storm(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	__u32 zero = 0, source;
	__u64 *ns = bpf_map_lookup_elem(&test_ns, &zero);

	if (!ns || (void *)(ip + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	*ns += step_ns;
	if (++sent >= every) {
		sent = 0;
		source = 10 << 24 | turn;
		if (++turn >= clients)
			turn = 0;
	} else {
		source = bpf_get_prandom_u32() | 1U << 31; /* no client's */
	}
	ip->saddr = bpf_htonl(source);
	bpf_tail_call(ctx, &target, 0);
	return XDP_ABORTED;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
