//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How long received packets wait for the kernel: from the softirq that is raised for them until it
 * runs, and how long it runs.
 */
#include <linux/bpf.h>

#define HISTS 2
#define HIST_WAIT 0
#define HIST_RUN 1

#include "../include/hist.h"
#include "../include/sample.h"
#include "../include/traced.h"

#define NET_RX_SOFTIRQ 3

#define COUNTS 2
#define COUNT_POLLS 0
#define COUNT_FULL_POLLS 1 /* which took all that they might, so that there may be more */

/* Writer: the program, each CPU its own, on which one poll does not interrupt another. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct times {
	__u64 raised; /* ns; 0: it is not */
	__u64 entered; /* ns; 0: it does not run */
	__u32 weight; /* of the run that was entered; 0: it is not followed */
	__u32 next; /* of the one after it, which may be raised meanwhile */
	__u32 begun; /* next is known */
	__u32 padding;
};

/* Writer: the programs, each CPU its own. An interrupt that raises it between two writes of them
 * may lose one wait.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct times);
} times SEC(".maps");

static __always_inline struct times *times_of(__u32 vector)
{
	struct times *t;
	__u32 zero = 0;

	if (vector != NET_RX_SOFTIRQ)
		return NULL;
	t = bpf_map_lookup_elem(&times, &zero);
	if (t && !t->begun) {
		t->begun = 1;
		t->next = sampled();
	}
	return t;
}

SEC("tp_btf/softirq_raise")
int softirq_raise(__u64 *ctx) /* vector */
{
	struct times *t = times_of(ctx[0]);

	if (t && t->next && !t->raised)
		t->raised = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/softirq_entry")
int softirq_entry(__u64 *ctx) /* vector */
{
	struct times *t = times_of(ctx[0]);

	if (!t)
		return 0;
	t->weight = t->next;
	t->next = sampled();
	if (t->weight)
		t->entered = bpf_ktime_get_ns();
	if (t->weight && t->raised)
		hist_add(HIST_WAIT, t->raised, t->entered, t->weight);
	t->raised = 0;
	return 0;
}

SEC("tp_btf/softirq_exit")
int softirq_exit(__u64 *ctx) /* vector */
{
	struct times *t = times_of(ctx[0]);

	if (t && t->entered)
		hist_add(HIST_RUN, t->entered, bpf_ktime_get_ns(), t->weight);
	if (t)
		t->entered = 0;
	return 0;
}

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &what);

	if (n)
		(*n)++;
}

SEC("tp_btf/napi_poll")
int napi_poll(__u64 *ctx) /* napi, packets, budget */
{
	int packets = (int)ctx[1], budget = (int)ctx[2];

	count(COUNT_POLLS);
	if (budget > 0 && packets >= budget)
		count(COUNT_FULL_POLLS);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
