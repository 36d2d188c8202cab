/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What time it is, and what else a CPU remembers from one packet to the next. */
#ifndef WEIR_CLOCK_H
#define WEIR_CLOCK_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"

/* Set before load. */
const volatile __u8 coarse_clock = 0; /* see clock */
const volatile __u8 test_clock = 0; /* only in tests */

/* The time in tests, ns. Writer: a test. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} test_ns SEC(".maps");

/* What a CPU remembers. */
struct own {
	__u64 jiffies; /* its coarse clock: the time at its first packet of a tick of the kernel */
	__u64 ns;
	__u64 last; /* key of the last plain packet's source */
	__u64 known; /* whether that had a slot, and so will the next one's, most likely */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct own);
} owns SEC(".maps");

static __always_inline struct own *own_memory(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&owns, &zero);
}

/* coarse_ns costs no call, unlike the kernel's coarse clock. */
static __always_inline __u64 coarse_ns(void)
{
	__u64 now = bpf_jiffies64();
	struct own *own = own_memory();

	if (!own)
		return 0;
	if (own->jiffies != now) {
		own->jiffies = now;
		own->ns = bpf_ktime_get_ns();
	}
	return own->ns;
}

/* clock is the time, ticks. The coarse clock costs nearly nothing instead of 25 to 60 ns, and steps
 * by a tick of the kernel, 1 to 10 ms: within one a client that keeps to its rate uses up a small
 * burst, and its quota is exact to that many packets.
 */
static __always_inline __u64 clock(int coarse)
{
	__u32 zero = 0;

	if (test_clock) {
		__u64 *ns = bpf_map_lookup_elem(&test_ns, &zero);

		return ns ? *(volatile __u64 *)ns << TICK_SHIFT : 0;
	}
	return (coarse ? coarse_ns() : bpf_ktime_get_ns()) << TICK_SHIFT;
}

#endif
