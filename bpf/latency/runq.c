//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How long a thread that could run waits for a CPU: woken, or put off one, until it runs. */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>

#define HISTS 1

#include "../include/hist.h"
#include "../include/sample.h"
#include "../include/traced.h"

struct wait {
	__u64 since; /* ns; 0: it does not, or is not followed */
	__u32 weight;
	__u32 padding;
};

/* Threads that wait. The kernel frees it with the thread. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct wait);
} waiting SEC(".maps");

static __always_inline void waits(struct task_struct *task)
{
	struct wait *w;
	__u32 weight;

	if (task->pid == 0 || !is_traced(task->tgid)) /* pid 0 is a CPU that idles */
		return;
	weight = sampled();
	if (!weight)
		return;
	w = bpf_task_storage_get(&waiting, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!w)
		return;
	w->weight = weight;
	w->since = bpf_ktime_get_ns();
}

/* woken: one that runs is woken too, if it was about to sleep; it does not wait. */
static __always_inline void woken(struct task_struct *task)
{
	if (!bpf_core_field_exists(task->on_cpu) || !task->on_cpu)
		waits(task);
}

SEC("tp_btf/sched_wakeup")
int sched_wakeup(__u64 *ctx) /* task */
{
	woken((struct task_struct *)ctx[0]);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int sched_wakeup_new(__u64 *ctx) /* task */
{
	woken((struct task_struct *)ctx[0]);
	return 0;
}

SEC("tp_btf/sched_switch")
int sched_switch(__u64 *ctx) /* whether preempted, task before, task after, state of that before */
{
	struct task_struct *before = (struct task_struct *)ctx[1];
	struct task_struct *after = (struct task_struct *)ctx[2];
	struct wait *w;

	if ((__u8)ctx[0] || (__u32)ctx[3] == 0)
		waits(before);
	if (!is_traced(after->tgid))
		return 0;
	w = bpf_task_storage_get(&waiting, after, 0, 0);
	if (!w || !w->since)
		return 0;
	hist_add(0, w->since, bpf_ktime_get_ns(), w->weight);
	w->since = 0;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
