//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How long Go's runtime stops the world, and how long its collector marks. Uprobes at the entry of
 * functions that run a few times a second; never at their return, which would have the process
 * crash: Go moves its stacks.
 */
#include <linux/bpf.h>

#define HISTS 2
#define HIST_STOPPED 0
#define HIST_MARKING 1

#include "../include/hist.h"
#include "../include/stops.h"
#include "../include/traced.h"

/* Since when each process marks, ns. Writer: the thread that begins or ends it, one at a time in a
 * process. Full: what begins then is not counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} marking SEC(".maps");

/* runtime.stopTheWorldWithSema: asks all that run to stop */
SEC("uprobe/stop_the_world")
int stop_the_world(void *ctx __attribute__((unused)))
{
	if (is_current_traced())
		stops_begin(bpf_get_current_pid_tgid() >> 32, bpf_ktime_get_ns());
	return 0;
}

/* runtime.startTheWorldWithSema */
SEC("uprobe/start_the_world")
int start_the_world(void *ctx __attribute__((unused)))
{
	__u64 now = bpf_ktime_get_ns();
	__u64 since = stops_end(bpf_get_current_pid_tgid() >> 32, now);

	if (since)
		hist_add(HIST_STOPPED, since, now, 1);
	return 0;
}

/* runtime.(*gcControllerState).startCycle: a collection begins, in its first stop */
SEC("uprobe/start_cycle")
int start_cycle(void *ctx __attribute__((unused)))
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 now = bpf_ktime_get_ns();

	if (is_current_traced())
		bpf_map_update_elem(&marking, &tgid, &now, BPF_ANY);
	return 0;
}

/* runtime.gcMarkTermination: all is marked, in its second */
SEC("uprobe/mark_termination")
int mark_termination(void *ctx __attribute__((unused)))
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 *since = bpf_map_lookup_elem(&marking, &tgid);

	if (since)
		hist_add(HIST_MARKING, *since, bpf_ktime_get_ns(), 1);
	bpf_map_delete_elem(&marking, &tgid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
