/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The generic cell rate algorithm (ITU-T I.371) on one 64-bit theoretical arrival time. The
 * same arithmetic is ratelimit.GCRA in Go; both are held to ratelimit/testdata/gcra.json.
 */
#ifndef WEIR_BUCKET_H
#define WEIR_BUCKET_H

#include "abi.h"

/* gcra decides about one packet at now. It returns the new arrival time, or 0 for no: then the
 * old one stands. The sums do not overflow, see TICK_SHIFT in abi.h.
 */
static __always_inline __u64 gcra(__u64 tat, __u64 now, __u64 interval, __u64 tolerance)
{
	if (tat < now)
		tat = now;
	if (tat > now + tolerance)
		return 0;
	return tat + interval;
}

/* gcra_clamp is an arrival time under a quota that has changed: no further ahead than the new
 * one can bring it, so that nobody is locked out for what a stricter one said.
 */
static __always_inline __u64 gcra_clamp(__u64 tat, __u64 now, __u64 interval, __u64 tolerance)
{
	__u64 furthest = now + tolerance + interval;

	return tat > furthest ? furthest : tat;
}

#endif
