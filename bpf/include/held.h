/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The connections a client holds, in one word that is moved by compare-and-swap: 24 bits of
 * open ones, 16 of SYNs that passed in this window of time and have not become one, 16 of those
 * in the window before, 8 of which window that is (HALF_OPEN_SHIFT). Half-open ones run out by
 * themselves: a SYN that is never completed holds its place for two windows at most.
 *
 * Error: after 256 windows (2.4 h) without a SYN a word may be read as of this window: half-open
 * ones of then count again, for two windows.
 */
#ifndef WEIR_HELD_H
#define WEIR_HELD_H

#include <linux/types.h>
#include "abi.h"

#define HELD_OPEN_MASK 0xffffffULL
#define HELD_HALF_MASK 0xffffULL
#define HELD_NOW_SHIFT 24
#define HELD_PREV_SHIFT 40
#define HELD_WINDOW_SHIFT 56
#define HELD_TRIES 64 /* swaps lost in a row: every one of them is another CPU's success */

static __always_inline __u32 held_open(__u64 h)
{
	return h & HELD_OPEN_MASK;
}

static __always_inline __u32 held_now(__u64 h)
{
	return h >> HELD_NOW_SHIFT & HELD_HALF_MASK;
}

static __always_inline __u32 held_prev(__u64 h)
{
	return h >> HELD_PREV_SHIFT & HELD_HALF_MASK;
}

static __always_inline __u64 held_make(__u64 open, __u64 now, __u64 prev, __u64 window)
{
	return open | now << HELD_NOW_SHIFT | prev << HELD_PREV_SHIFT | window << HELD_WINDOW_SHIFT;
}

/* held_at is the word as of a time. */
static __always_inline __u64 held_at(__u64 h, __u64 ns)
{
	__u64 window = ns >> HALF_OPEN_SHIFT & 0xff;
	__u64 passed = (window - (h >> HELD_WINDOW_SHIFT)) & 0xff;

	if (passed == 0)
		return h;
	return held_make(held_open(h), 0, passed == 1 ? held_now(h) : 0, window);
}

static __always_inline __u32 held_total(__u64 h)
{
	return held_open(h) + held_now(h) + held_prev(h);
}

/* held_reserve takes a place for a SYN, if there is one: 1, else 0. */
static __always_inline int held_reserve(__u64 *held, __u64 ns, __u32 most)
{
	for (int i = 0; i < CAS_TRIES; i++) {
		__u64 old = *(volatile __u64 *)held, h = held_at(old, ns);

		if (held_total(h) >= most || held_now(h) == HELD_HALF_MASK)
			return 0;
		if (__sync_val_compare_and_swap(held, old, h + (1ULL << HELD_NOW_SHIFT)) == old)
			return 1;
	}
	return 0;
}

/* held_return gives the place of a SYN back that was refused for another reason. */
static __always_inline void held_return(__u64 *held, __u64 ns)
{
	for (int i = 0; i < CAS_TRIES; i++) {
		__u64 old = *(volatile __u64 *)held, h = held_at(old, ns);

		if (held_now(h) == 0)
			return;
		if (__sync_val_compare_and_swap(held, old, h - (1ULL << HELD_NOW_SHIFT)) == old)
			return;
	}
}

/* held_settle makes a half-open connection an open one: 0, or -1 if it could not be counted. */
__noinline int held_settle(__u64 *held, __u64 ns, int was_half_open)
{
	if (!held)
		return -1;
	for (int i = 0; i < HELD_TRIES; i++) {
		__u64 old = *(volatile __u64 *)held, h = held_at(old, ns);

		if (held_open(h) == HELD_OPEN_MASK)
			return -1;
		if (was_half_open && held_now(h) > 0)
			h -= 1ULL << HELD_NOW_SHIFT;
		else if (was_half_open && held_prev(h) > 0)
			h -= 1ULL << HELD_PREV_SHIFT;
		if (__sync_val_compare_and_swap(held, old, h + 1) == old)
			return 0;
	}
	return -1;
}

/* held_release ends an open connection: 0, or -1 if it could not be counted. */
__noinline int held_release(__u64 *held)
{
	if (!held)
		return -1;
	for (int i = 0; i < HELD_TRIES; i++) {
		__u64 old = *(volatile __u64 *)held;

		if (held_open(old) == 0)
			return -1;
		if (__sync_val_compare_and_swap(held, old, old - 1) == old)
			return 0;
	}
	return -1;
}

#endif
