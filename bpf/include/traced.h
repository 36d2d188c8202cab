/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is traced, and what tracers read of threads and of syscalls. */
#ifndef WEIR_TRACED_H
#define WEIR_TRACED_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#define MAX_TGIDS 64
#define MAX_PORTS 16

/* Set before load: processes and local ports. With a count of 0 there is no such filter, and the
 * verifier removes it.
 */
const volatile __u32 tgids[MAX_TGIDS] = {};
const volatile __u32 tgid_count = 0;
const volatile __u16 ports[MAX_PORTS] = {};
const volatile __u32 port_count = 0;

/* traced_place is that of a process among those that are named, MAX_TGIDS if it is not, or none
 * are. */
static __always_inline __u32 traced_place(__u32 tgid)
{
	for (__u32 i = 0; i < MAX_TGIDS && i < tgid_count; i++)
		if (tgids[i] == tgid)
			return i;
	return MAX_TGIDS;
}

static __always_inline int is_traced(__u32 tgid)
{
	return tgid_count == 0 || traced_place(tgid) < MAX_TGIDS;
}

static __always_inline int is_current_traced(void)
{
	return tgid_count == 0 || is_traced(bpf_get_current_pid_tgid() >> 32);
}

static __always_inline int is_port(__u16 port)
{
	if (port_count == 0)
		return 1;
	for (__u32 i = 0; i < MAX_PORTS && i < port_count; i++)
		if (ports[i] == port)
			return 1;
	return 0;
}

/* Relocated at load: include/linux/sched.h. */
struct files_struct;

struct task_struct {
	int pid;
	int tgid;
	int on_cpu;
	struct files_struct *files;
} __attribute__((preserve_access_index));

/* Contexts of the tracepoints of a syscall. */
struct syscall_enter {
	__u64 common;
	__u64 number;
	__u64 args[6];
};

struct syscall_exit {
	__u64 common;
	__u64 number;
	__s64 ret;
};

#endif
