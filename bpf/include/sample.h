/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which events a tracer follows. Each that is followed counts for as many as it stands for,
 * whatever the number was meanwhile: sums and counts have no bias (Horvitz and Thompson 1952).
 */
#ifndef WEIR_SAMPLE_H
#define WEIR_SAMPLE_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* One in so many is followed, a power of two. Writer: user space, at any time. */
volatile __u32 sample_every = 1;

/* A linear congruential generator of each CPU (Knuth, The Art of Computer Programming 2, 3.3.4,
 * line 16): its high bits are as good as is needed here, and no function is called. Programs that
 * interrupt each other may both have the same number.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} dice SEC(".maps");

/* sampled is for how many events the one at hand stands, 0 if it is not to be followed. */
static __always_inline __u32 sampled(void)
{
	__u32 every = sample_every, zero = 0, *die;

	if (every <= 1)
		return 1;
	die = bpf_map_lookup_elem(&dice, &zero);
	if (!die)
		return 0;
	*die = *die * 1664525 + 1013904223;
	return *die >> 24 & (every - 1) ? 0 : every;
}

#endif
