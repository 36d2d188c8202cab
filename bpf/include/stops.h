/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* When Go's runtime stops the world: no goroutine of a process runs then, but the one that asked.
 */
#ifndef WEIR_STOPS_H
#define WEIR_STOPS_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "traced.h"

struct stop {
	__u64 since; /* ns; 0: it is not stopped */
	__u64 total; /* ns, of all stops that ended */
};

/* Of the processes that are named, by their places. Writer: the thread that stops and starts the
 * world, one at a time in a process.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_TGIDS);
	__type(key, __u32);
	__type(value, struct stop);
} stops SEC(".maps");

static __always_inline struct stop *stops_of(__u32 tgid)
{
	__u32 place = traced_place(tgid);

	return bpf_map_lookup_elem(&stops, &place);
}

static __always_inline void stops_begin(__u32 tgid, __u64 now)
{
	struct stop *s = stops_of(tgid);

	if (s)
		s->since = now;
}

/* stops_end returns when the stop began that ends now, 0 if that was not seen. */
static __always_inline __u64 stops_end(__u32 tgid, __u64 now)
{
	struct stop *s = stops_of(tgid);
	__u64 since;

	if (!s || !s->since)
		return 0;
	since = s->since;
	s->total += now - since;
	s->since = 0;
	return since;
}

/* stops_total is for how long the world was stopped up to now. */
static __always_inline __u64 stops_total(__u32 tgid, __u64 now)
{
	struct stop *s = stops_of(tgid);
	__u64 since;

	if (!s)
		return 0;
	since = s->since;
	return s->total + (since && now > since ? now - since : 0);
}

#endif
