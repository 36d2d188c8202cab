/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The generic cell rate algorithm (ITU-T I.371) on one 64-bit theoretical arrival time. The
 * same arithmetic is ratelimit.GCRA in Go; both are held to ratelimit/testdata/gcra.json.
 */
#ifndef WEIR_BUCKET_H
#define WEIR_BUCKET_H

#include "abi.h"

/* gcra decides about a request of some cost at now. It returns the new arrival time, or 0 for
 * no: then the old one stands. The sums do not overflow, see TICK_SHIFT in abi.h.
 */
static __always_inline __u64 gcra(__u64 tat, __u64 now, __u64 cost, __u64 limit)
{
	if (tat < now)
		tat = now;
	if (tat + cost > now + limit)
		return 0;
	return tat + cost;
}

/* gcra_clamp is an arrival time under a quota that has changed: no further ahead than the new
 * one can bring it, so that nobody is locked out for what a stricter one said.
 */
static __always_inline __u64 gcra_clamp(__u64 tat, __u64 now, __u64 limit)
{
	return tat > now + limit ? now + limit : tat;
}

/* byte_cost is the ticks that bytes cost, rounded up: a rate is never exceeded. */
static __always_inline __u64 byte_cost(__u64 bytes, __u64 mult, __u32 shift)
{
	shift &= 63;
	return (bytes * mult + ((1ULL << shift) - 1)) >> shift;
}

#endif
