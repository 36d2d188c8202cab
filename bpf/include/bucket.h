/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The generic cell rate algorithm (ITU-T I.371) on one 64-bit theoretical arrival time. The
 * same arithmetic is ratelimit.GCRA in Go; both are held to ratelimit/testdata/gcra.json.
 */
#ifndef WEIR_BUCKET_H
#define WEIR_BUCKET_H

#include "abi.h"

/* gcra decides about one packet at now. It returns the new arrival time, or 0 for no. An
 * arrival time further ahead than a quota can bring it (the quota was changed) counts as the
 * furthest. now + tolerance + interval does not overflow: rates are bounded by ratelimit at
 * an hour ahead of the clock, and the clock has 36 years.
 */
static __always_inline __u64 gcra(__u64 tat, __u64 now, __u64 interval, __u64 tolerance)
{
	if (tat < now)
		tat = now;
	if (tat > now + tolerance + interval)
		tat = now + tolerance + interval;
	if (tat > now + tolerance)
		return 0;
	return tat + interval;
}

#endif
