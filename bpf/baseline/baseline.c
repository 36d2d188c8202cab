//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What xdp_weir is measured against: nothing at all, and limiters as they are commonly written. And
 * what makes a flood of one packet, so that a program can be run on it.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "../include/bucket.h"

/* What a packet costs without a program under test. */
SEC("xdp")
int drop(void *ctx __attribute__((unused)))
{
	return XDP_DROP;
}

/* Set before load: the bits of an address that change, and what the others are. */
const volatile __u32 source_mask = 0;
const volatile __u32 source_base = 0;

/* The program under test. Writer: user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

/* spray gives each run of an IPv4 packet another source. */
SEC("xdp")
int spray(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	ip->saddr = bpf_htonl(source_base | (bpf_get_prandom_u32() & source_mask));
	bpf_tail_call(ctx, &target, 0);
	return XDP_ABORTED;
}

#define FRAME_WORDS 7 /* and two bytes: Ethernet, IPv4, TCP with an option of four bytes */

/* Set before load: what rewind makes of each packet. */
const volatile __u64 frame[FRAME_WORDS + 1] = {};

/* rewind undoes what the program under test did to a packet the last time, its length aside. */
SEC("xdp")
int rewind(struct xdp_md *ctx)
{
	__u64 *to = (void *)(long)ctx->data;

	if ((void *)(to + FRAME_WORDS) + 2 > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < FRAME_WORDS; i++)
		to[i] = frame[i];
	*(__u16 *)(to + FRAME_WORDS) = frame[FRAME_WORDS];
	bpf_tail_call(ctx, &target, 0);
	return XDP_ABORTED;
}

/* Set before load: the limiters' quota, of packets; that of the window in packets a second. */
const volatile __u64 quota_interval = 0;
const volatile __u64 quota_limit = 0;
const volatile __u64 window_packets = 0;

/* Packets by verdict. Writer: the limiters, each CPU its own. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XDP_PASS + 1);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

static __always_inline int count(__u32 verdict)
{
	__u64 *n = bpf_map_lookup_elem(&verdicts, &verdict);

	if (n)
		(*n)++;
	return verdict;
}

/* source_of is a packet's source, NULL if it is not IPv4. */
static __always_inline __be32 *source_of(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return NULL;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->version != 4 || ip->ihl < 5)
		return NULL;
	return &ip->saddr;
}

/* The arrival time of each source's next packet, ticks. Full: the kernel evicts who it takes to be
 * the least recently used, and forgets what it owes. max_entries is set before load.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __be32);
	__type(value, __u64);
} arrivals SEC(".maps");

/* lru_gcra is a quota of packets for each source, by the arithmetic of xdp_weir, in the kernel's
 * map for such: two of the first packets of a source on two CPUs may be counted as one.
 */
SEC("xdp")
int lru_gcra(struct xdp_md *ctx)
{
	__be32 *at = source_of(ctx), source;
	__u64 now, *tat, first;

	if (!at)
		return count(XDP_PASS);
	source = *at;
	now = bpf_ktime_get_ns() << TICK_SHIFT;
	tat = bpf_map_lookup_elem(&arrivals, &source);
	if (!tat) {
		first = now + quota_interval;
		bpf_map_update_elem(&arrivals, &source, &first, BPF_ANY);
		return count(XDP_PASS);
	}
	for (int i = 0; i < CAS_TRIES; i++) {
		__u64 old = *(volatile __u64 *)tat;
		__u64 new = gcra(old, now, quota_interval, quota_limit);

		if (new == 0)
			return count(XDP_DROP);
		if (__sync_val_compare_and_swap(tat, old, new) == old)
			return count(XDP_PASS);
	}
	return count(XDP_DROP);
}

/* A table of clients that nothing is done with, and its number of entries less one, set before
 * load: a power of two less one. max_entries too.
 */
const volatile __u32 table_mask = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct set);
} table SEC(".maps");

/* least is what each limiter with a precise clock does at least: it reads the clock, and one word
 * of the source's entry. Which one that is, is the multiplicative hash of Knuth (TAOCP 6.4).
 */
SEC("xdp")
int least(struct xdp_md *ctx)
{
	__be32 *at = source_of(ctx);
	__u64 now = bpf_ktime_get_ns();
	struct set *set;
	__u32 index;

	if (!at)
		return XDP_PASS;
	index = (*at * 2654435769U >> 8) & table_mask;
	set = bpf_map_lookup_elem(&table, &index);
	return set && *(volatile __u64 *)&set->key[0] > now ? XDP_PASS : XDP_DROP;
}

struct window {
	__u64 second;
	__u64 packets;
};

/* What a source sent in a second to each CPU. Full: a new source's packets pass uncounted.
 * max_entries is set before load.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1);
	__type(key, __be32);
	__type(value, struct window);
} windows SEC(".maps");

/* fixed_window counts a source's packets of a second, on each CPU apart. */
SEC("xdp")
int fixed_window(struct xdp_md *ctx)
{
	__be32 *at = source_of(ctx), source;
	struct window first = {.packets = 1}, *w;
	__u64 second;

	if (!at)
		return count(XDP_PASS);
	source = *at;
	second = bpf_ktime_get_ns() / 1000000000;
	w = bpf_map_lookup_elem(&windows, &source);
	if (!w) {
		first.second = second;
		bpf_map_update_elem(&windows, &source, &first, BPF_ANY);
		return count(XDP_PASS);
	}
	if (w->second != second) {
		w->second = second;
		w->packets = 0;
	}
	w->packets++;
	return count(w->packets > window_packets ? XDP_DROP : XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
