//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How long a thread that could run waits for a CPU: woken, or put off one, until it runs. */
#include <linux/bpf.h>

#define HISTS 1

#include "../include/hist.h"
#include "../include/traced.h"

/* Since when each thread waits, ns; 0: it does not. The kernel frees it with the thread. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} waiting SEC(".maps");

static __always_inline void waits(struct task_struct *task, __u64 now)
{
	__u64 *since;

	if (task->pid == 0 || !is_traced(task->tgid)) /* pid 0 is a CPU that idles */
		return;
	since = bpf_task_storage_get(&waiting, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (since)
		*since = now;
}

SEC("tp_btf/sched_wakeup")
int sched_wakeup(__u64 *ctx) /* task */
{
	waits((struct task_struct *)ctx[0], bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int sched_wakeup_new(__u64 *ctx) /* task */
{
	waits((struct task_struct *)ctx[0], bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/sched_switch")
int sched_switch(__u64 *ctx) /* whether preempted, task before, task after, state of that before */
{
	struct task_struct *before = (struct task_struct *)ctx[1];
	struct task_struct *after = (struct task_struct *)ctx[2];
	__u64 now = bpf_ktime_get_ns();
	__u64 *since;

	if ((__u8)ctx[0] || (__u32)ctx[3] == 0)
		waits(before, now);
	if (!is_traced(after->tgid))
		return 0;
	since = bpf_task_storage_get(&waiting, after, 0, 0);
	if (!since || !*since)
		return 0;
	hist_add(0, *since, now);
	*since = 0;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
