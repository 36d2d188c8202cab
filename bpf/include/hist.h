/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Histograms of durations, one bucket for each power of two of a second. Bucket i is of those above
 * 2^(i-31) s and up to 2^(i-30) s: the same bounds, to the nanosecond, as those of a native
 * histogram of schema 0. The file that includes this says by HISTS how many it has.
 */
#ifndef WEIR_HIST_H
#define WEIR_HIST_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#define HIST_BUCKETS 39
#define HIST_SECOND 30 /* the bucket that ends with one second */

struct hist {
	__u64 sum; /* ns */
	__u64 bucket[HIST_BUCKETS];
};

/* Writer: the programs, each CPU its own. Reader: user space, which adds up the CPUs. Programs may
 * interrupt each other on a CPU, so that they add atomically, and none is lost.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HISTS);
	__type(key, __u32);
	__type(value, struct hist);
} hists SEC(".maps");

/* hist_log2 is the place of the highest bit of v, which is not 0. */
static __always_inline __u32 hist_log2(__u64 v)
{
	__u32 place = 0, shift;

	shift = (v > 0xffffffff) << 5;
	v >>= shift;
	place |= shift;
	shift = (v > 0xffff) << 4;
	v >>= shift;
	place |= shift;
	shift = (v > 0xff) << 3;
	v >>= shift;
	place |= shift;
	shift = (v > 0xf) << 2;
	v >>= shift;
	place |= shift;
	shift = (v > 0x3) << 1;
	v >>= shift;
	place |= shift;
	return place | (v >> 1);
}

/* hist_bound is the most that a bucket counts, 2^(i-30) s, ns, rounded down. */
static __always_inline __u64 hist_bound(__u32 bucket)
{
	return bucket < HIST_SECOND ? 1000000000ULL >> (HIST_SECOND - bucket)
				    : 1000000000ULL << (bucket - HIST_SECOND);
}

/* hist_bucket is where a duration is counted; the last one has all that is too long. A power of two
 * of ns is 1.07 of 2^-30 s: the highest bit says all but which of two buckets it is.
 */
static __always_inline __u32 hist_bucket(__u64 ns)
{
	__u32 bucket;

	if (ns == 0)
		return 0;
	if (ns > hist_bound(HIST_BUCKETS - 1))
		return HIST_BUCKETS - 1;
	bucket = hist_log2(ns) + 1;
	return ns <= hist_bound(bucket) ? bucket : bucket + 1;
}

/* hist_count counts what took from start to now, for as many as weight says; clocks of two CPUs may
 * differ, and then it took nothing.
 */
static __always_inline void hist_count(struct hist *h, __u64 start, __u64 now, __u32 weight)
{
	__u64 ns = now > start ? now - start : 0;
	__u32 bucket = hist_bucket(ns);

	if (!h || bucket >= HIST_BUCKETS)
		return;
	__sync_fetch_and_add(&h->sum, ns * weight);
	__sync_fetch_and_add(&h->bucket[bucket], weight);
}

static __always_inline void hist_add(__u32 which, __u64 start, __u64 now, __u32 weight)
{
	hist_count(bpf_map_lookup_elem(&hists, &which), start, now, weight);
}

#endif
