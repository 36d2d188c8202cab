/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Event loops, each by its process and the epoll descriptor that it polls. A loop's state is in a
 * slot, and a thread that polls it remembers which: no key is hashed for a poll.
 */
#ifndef WEIR_LOOPS_H
#define WEIR_LOOPS_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "hist.h"

#define KERNEL_FRAMES 16
#define USER_FRAMES 32

struct code {
	__s32 kernel_bytes; /* below 0: why there is none, negated */
	__s32 user_bytes;
	__u64 kernel[KERNEL_FRAMES];
	__u64 user[USER_FRAMES];
};

struct loop {
	__u32 tgid;
	__u32 descriptor;
};

struct loop_state {
	struct loop loop; /* whose it is; tgid 0: nobody's */
	struct hist busy;
	__u64 since; /* ns: a poll brought events; 0: it is polled, or was not yet */
	__u64 tick; /* jiffies, then */
	__u64 off; /* ns: the thread left the CPU; 0: it is on one */
	__u32 tid; /* the thread that has the events; its goroutine may go on on another */
	__u32 place;
	__u32 kept; /* the code was looked at in a place that explains it */
	__u32 weight; /* of this time in the histograms; 0: it is not in them */
	__u64 woken; /* ns: the thread was woken since; 0: it was not, so that it did not sleep */
	__u64 waited; /* ns */
	__u64 slept; /* ns */
	__u64 softirq; /* ns */
	__u64 stopped; /* ns: for how long the world was stopped before */
	struct code code;
};

#define MAX_LOOPS 2048

/* Event loops. Writer: the threads that poll, atomically where it is counted. Two that poll one
 * descriptor at once may have a time counted twice, or not. Reader: user space, the first of
 * next_slot slots.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_LOOPS);
	__type(key, __u32);
	__type(value, struct loop_state);
} loops SEC(".maps");

/* How many slots were given away, to the end of a lap around the array. All taken: the oldest
 * loop's is given to the next, and the oldest begins anew.
 */
__u32 next_slot = 0;

/* The slot of each loop. Writer: the threads that poll it first. As full as the slots: a loop that
 * loses its slot is forgotten here. Full all the same, for threads that begin at once: a loop is
 * not counted until its next poll.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LOOPS);
	__type(key, struct loop);
	__type(value, __u32);
} slots SEC(".maps");

struct thread {
	__u32 descriptor; /* of its last poll */
	__u32 has_events;
	__u32 slot; /* of the last loop whose slot it looked for */
	__u32 padding;
};

/* Threads that poll. Writer: themselves; of slot whoever looks for their loop. The kernel frees it
 * with the thread. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} threads SEC(".maps");

/* in_slot is the state of a loop if the slot is its own. */
static __always_inline struct loop_state *in_slot(__u32 slot, const struct loop *loop)
{
	struct loop_state *l = bpf_map_lookup_elem(&loops, &slot);

	return l && l->loop.tgid == loop->tgid && l->loop.descriptor == loop->descriptor ? l : NULL;
}

/* state_of is NULL for a loop that nobody has seen poll. t is the thread that has it. */
static __always_inline struct loop_state *state_of(struct thread *t, const struct loop *loop)
{
	struct loop_state *l = in_slot(t->slot, loop);
	__u32 *slot;

	if (l)
		return l;
	slot = bpf_map_lookup_elem(&slots, loop);
	if (!slot)
		return NULL;
	t->slot = *slot;
	return in_slot(*slot, loop);
}

/* begin_loop gives a slot to a loop that has none, or has one no more. */
static __always_inline struct loop_state *begin_loop(struct thread *t, const struct loop *loop)
{
	__u32 slot = __sync_fetch_and_add(&next_slot, 1) % MAX_LOOPS;
	struct loop_state *l = bpf_map_lookup_elem(&loops, &slot);

	if (!l)
		return NULL;
	if (l->loop.tgid) {
		struct loop oldest = l->loop;

		l->loop.tgid = 0;
		bpf_map_delete_elem(&slots, &oldest);
	}
	if (bpf_map_update_elem(&slots, loop, &slot, BPF_NOEXIST) != 0)
		return NULL; /* another thread has begun it, which counts */
	__builtin_memset(l, 0, sizeof(*l));
	l->loop = *loop;
	t->slot = slot;
	return l;
}

#endif
