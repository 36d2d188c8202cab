//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How long an event loop does not ask for events: from a poll that brought some to the next poll of
 * the same epoll descriptor, whichever thread that is by. Of those that take long it is told which
 * code the thread was in, and what took most of the time.
 */
#include <linux/bpf.h>

#define HISTS 1

#include "../include/hist.h"
#include "../include/loops.h"
#include "../include/sample.h"
#include "../include/stops.h"
#include "../include/traced.h"

/* Set before load: who is busy as long, ns, is told with its code. 0: nobody. */
const volatile __u64 threshold = 0;

/* Set before load: who is not in the histograms, and was busy for fewer ticks of the kernel's, was
 * not busy for the threshold. To read the clock takes most of what a poll does here. 0: it is read.
 */
const volatile __u64 fewer_ticks = 0;

#define COMM_BYTES 16

/* Where the thread was when its code was looked at. */
enum place {
	PLACE_POLL = 0, /* in the next poll: it was in no other place for long */
	PLACE_OFF_CPU = 1, /* where it left the CPU, for half of the threshold or more if at all */
	PLACE_ON_CPU = 2, /* where the clock's tick found it */
};

/* What took most of the time, or for CAUSE_STOP_THE_WORLD half of it: no goroutine runs then,
 * wherever its thread is.
 */
enum cause {
	CAUSE_CALLBACK = 0, /* the thread ran, its own code or that of syscalls */
	CAUSE_RUN_QUEUE = 1, /* it could run, and waited for a CPU */
	CAUSE_BLOCKED = 2, /* it slept */
	CAUSE_SOFTIRQ = 3, /* softirqs ran on its CPU, in its place */
	CAUSE_STOP_THE_WORLD = 4,
	CAUSES = 5,
};

struct stall {
	__u64 ended; /* CLOCK_MONOTONIC, ns */
	__u64 busy; /* ns */
	__u32 tgid;
	__u32 tid;
	__u32 descriptor;
	__u32 place;
	char comm[COMM_BYTES];
	__u64 waited; /* ns, for a CPU */
	__u64 slept; /* ns */
	__u64 softirq; /* ns */
	__u64 stopped; /* ns, with the world of Go */
	__u32 cause;
	__u32 padding;
	struct code code;
};

const struct loop *unused_loop __attribute__((unused));
const struct stall *unused_stall __attribute__((unused));
const enum place *unused_place __attribute__((unused));
const enum cause *unused_cause __attribute__((unused));

/* Reader: user space, when it wants to. Full: what comes then is counted, and not told. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} stalls SEC(".maps");

#define COUNT_STALLS 0
#define COUNT_UNTOLD 1
#define COUNT_CAUSES 2
#define COUNTS (COUNT_CAUSES + CAUSES)

/* Writer: the programs, each CPU its own. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &what);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* look_at_user notes the code of the current thread, without the kernel's part of it. */
static __always_inline void look_at_user(void *ctx, struct loop_state *l, enum place place)
{
	struct code *code = &l->code;

	l->place = place;
	code->kernel_bytes = 0;
	code->user_bytes = bpf_get_stack(ctx, code->user, sizeof(code->user), BPF_F_USER_STACK);
}

/* look notes the code of the current thread, without the tracer's own frames. */
static __always_inline void look(void *ctx, struct loop_state *l, enum place place, __u64 own)
{
	struct code *code = &l->code;

	look_at_user(ctx, l, place);
	code->kernel_bytes = bpf_get_stack(ctx, code->kernel, sizeof(code->kernel), own);
}

/* settle counts the time that the thread was off its CPU. */
static __always_inline void settle(struct loop_state *l, __u64 now)
{
	__u64 runnable = l->off;

	if (!l->off)
		return;
	if (l->woken >= l->off) {
		l->slept += l->woken - l->off;
		runnable = l->woken;
	}
	if (now > runnable)
		l->waited += now - runnable;
	l->off = 0;
	l->woken = 0;
}

static __always_inline enum cause cause_of(const struct loop_state *l, __u64 busy, __u64 stopped)
{
	__u64 most, others = l->waited + l->slept + l->softirq;
	enum cause cause = CAUSE_CALLBACK;

	if (stopped >= busy / 2)
		return CAUSE_STOP_THE_WORLD;
	most = busy > others ? busy - others : 0;
	if (l->waited > most) {
		most = l->waited;
		cause = CAUSE_RUN_QUEUE;
	}
	if (l->slept > most) {
		most = l->slept;
		cause = CAUSE_BLOCKED;
	}
	if (l->softirq > most)
		cause = CAUSE_SOFTIRQ;
	return cause;
}

/* tell is called by the thread that polls. */
static __always_inline void tell(void *ctx, const struct loop *loop, struct loop_state *l,
				 __u64 now)
{
	__u64 busy = now - l->since, stopped = stops_total(loop->tgid, now) - l->stopped;
	enum cause cause;
	struct stall *s;

	settle(l, now);
	cause = cause_of(l, busy, stopped);
	count(COUNT_STALLS);
	count(COUNT_CAUSES + cause);
	if (l->code.user_bytes == 0 && l->code.kernel_bytes == 0)
		look(ctx, l, PLACE_POLL, 0);
	s = bpf_ringbuf_reserve(&stalls, sizeof(*s), 0);
	if (!s) {
		count(COUNT_UNTOLD);
		return;
	}
	s->ended = now;
	s->busy = busy;
	s->tgid = loop->tgid;
	s->tid = l->tid;
	s->descriptor = loop->descriptor;
	s->place = l->place;
	s->waited = l->waited;
	s->slept = l->slept;
	s->softirq = l->softirq;
	s->stopped = stopped;
	s->cause = cause;
	s->padding = 0;
	bpf_get_current_comm(s->comm, sizeof(s->comm));
	__builtin_memcpy(&s->code, &l->code, sizeof(s->code));
	bpf_ringbuf_submit(s, BPF_RB_NO_WAKEUP);
}

static __always_inline int polls(struct syscall_enter *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
	struct loop loop = {.tgid = task->tgid, .descriptor = ctx->args[0]};
	struct loop_state *l;
	struct thread *t;
	__u64 now;

	if (!is_traced(loop.tgid))
		return 0;
	t = bpf_task_storage_get(&threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!t)
		return 0;
	t->descriptor = loop.descriptor;
	t->has_events = 0;
	l = state_of(t, &loop);
	if (!l || !l->since)
		return 0;
	if (!l->weight && bpf_jiffies64() - l->tick < fewer_ticks) {
		l->since = 0;
		return 0;
	}
	now = bpf_ktime_get_ns();
	if (l->weight) {
		hist_count(&l->busy, l->since, now, l->weight);
		hist_add(0, l->since, now, l->weight);
	}
	if (threshold && now - l->since >= threshold)
		tell(ctx, &loop, l, now);
	l->since = 0;
	return 0;
}

static __always_inline int polled(struct syscall_exit *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
	struct loop loop = {.tgid = task->tgid};
	struct loop_state *l;
	struct thread *t;
	__u64 now;

	if (ctx->ret <= 0 || !is_traced(loop.tgid))
		return 0;
	t = bpf_task_storage_get(&threads, task, 0, 0);
	if (!t)
		return 0;
	loop.descriptor = t->descriptor;
	l = state_of(t, &loop);
	if (!l)
		l = begin_loop(t, &loop);
	if (!l)
		return 0;
	l->weight = sampled();
	if (!threshold && !l->weight)
		return 0;
	t->has_events = 1;
	l->tid = task->pid;
	l->off = 0;
	l->kept = 0;
	l->code.kernel_bytes = 0;
	l->code.user_bytes = 0;
	l->woken = 0;
	l->waited = 0;
	l->slept = 0;
	l->softirq = 0;
	now = bpf_ktime_get_ns();
	l->stopped = stops_total(loop.tgid, now);
	l->since = now;
	l->tick = bpf_jiffies64();
	return 0;
}

SEC("tp/syscalls/sys_enter_epoll_wait")
int sys_enter_epoll_wait(struct syscall_enter *ctx)
{
	return polls(ctx);
}

SEC("tp/syscalls/sys_enter_epoll_pwait")
int sys_enter_epoll_pwait(struct syscall_enter *ctx)
{
	return polls(ctx);
}

SEC("tp/syscalls/sys_enter_epoll_pwait2")
int sys_enter_epoll_pwait2(struct syscall_enter *ctx)
{
	return polls(ctx);
}

SEC("tp/syscalls/sys_exit_epoll_wait")
int sys_exit_epoll_wait(struct syscall_exit *ctx)
{
	return polled(ctx);
}

SEC("tp/syscalls/sys_exit_epoll_pwait")
int sys_exit_epoll_pwait(struct syscall_exit *ctx)
{
	return polled(ctx);
}

SEC("tp/syscalls/sys_exit_epoll_pwait2")
int sys_exit_epoll_pwait2(struct syscall_exit *ctx)
{
	return polled(ctx);
}

/* A new epoll descriptor may have the number of one that was closed while its loop was busy. */
static __always_inline int created(struct syscall_exit *ctx)
{
	__u64 tgid = bpf_get_current_pid_tgid() >> 32;
	struct loop loop = {.tgid = tgid, .descriptor = ctx->ret};
	struct loop_state *l;
	__u32 *slot;

	if (ctx->ret < 0 || !is_traced(tgid))
		return 0;
	slot = bpf_map_lookup_elem(&slots, &loop);
	l = slot ? in_slot(*slot, &loop) : NULL;
	if (!l)
		return 0;
	__builtin_memset(l, 0, sizeof(*l));
	l->loop = loop;
	return 0;
}

SEC("tp/syscalls/sys_exit_epoll_create")
int sys_exit_epoll_create(struct syscall_exit *ctx)
{
	return created(ctx);
}

SEC("tp/syscalls/sys_exit_epoll_create1")
int sys_exit_epoll_create1(struct syscall_exit *ctx)
{
	return created(ctx);
}

/* busy_loop is the loop whose events a task has, NULL of any other task. */
static __always_inline struct loop_state *busy_loop(struct task_struct *task)
{
	struct loop loop = {.tgid = task->tgid};
	struct loop_state *l;
	struct thread *t;

	if (!threshold || task->pid == 0 || !is_traced(loop.tgid))
		return NULL;
	t = bpf_task_storage_get(&threads, task, 0, 0);
	if (!t || !t->has_events)
		return NULL;
	loop.descriptor = t->descriptor;
	l = state_of(t, &loop);
	return l && l->since && (int)l->tid == task->pid ? l : NULL;
}

/* Frames of the tracer: the program, and what calls it. */
#define OWN_FRAMES 2

/* The code is looked at where the thread leaves the CPU; what it was away for half of the
 * threshold is kept. Its way through the kernel is unwound when it comes back, if that may be told:
 * it takes most of a look, and is the same then.
 */
SEC("tp_btf/sched_switch")
int sched_switch(__u64 *ctx) /* whether preempted, task before, task after, state of that before */
{
	struct task_struct *next = (struct task_struct *)ctx[2];
	struct loop_state *before = busy_loop((struct task_struct *)ctx[1]);
	struct loop_state *after = busy_loop(next);
	struct code *code;
	__u64 now;

	if (!before && !after)
		return 0;
	now = bpf_ktime_get_ns();
	if (before) {
		before->off = now;
		before->woken = 0;
		if (!before->kept)
			look_at_user(ctx, before, PLACE_OFF_CPU);
	}
	if (!after)
		return 0;
	if (after->off && !after->kept && now - after->since >= threshold / 2) {
		code = &after->code;
		code->kernel_bytes =
			bpf_get_task_stack(next, code->kernel, sizeof(code->kernel), 0);
		after->kept = now - after->off >= threshold / 2;
	}
	settle(after, now);
	return 0;
}

/* A thread that is woken has slept; one that was put off its CPU is not. */
SEC("tp_btf/sched_wakeup")
int sched_wakeup(__u64 *ctx) /* task */
{
	struct loop_state *l = busy_loop((struct task_struct *)ctx[0]);

	if (l && l->off && !l->woken)
		l->woken = bpf_ktime_get_ns();
	return 0;
}

/* When the softirq that runs on this CPU began, ns. Writer: the programs, each CPU its own. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} softirqs SEC(".maps");

SEC("tp_btf/softirq_entry")
int softirq_entry(__u64 *ctx __attribute__((unused))) /* vector */
{
	__u32 zero = 0;
	__u64 *since = bpf_map_lookup_elem(&softirqs, &zero);

	if (threshold && since)
		*since = is_current_traced() ? bpf_ktime_get_ns() : 0;
	return 0;
}

/* Softirqs run in whatever thread the interrupt found, unless that is the kernel's own for them:
 * then the loop waits for its CPU.
 */
SEC("tp_btf/softirq_exit")
int softirq_exit(__u64 *ctx __attribute__((unused))) /* vector */
{
	struct loop_state *l = busy_loop((struct task_struct *)bpf_get_current_task_btf());
	__u64 begun, now, *since;
	__u32 zero = 0;

	if (!l)
		return 0;
	since = bpf_map_lookup_elem(&softirqs, &zero);
	if (!since || !*since)
		return 0;
	now = bpf_ktime_get_ns();
	begun = *since > l->since ? *since : l->since; /* it may have begun in the poll */
	if (now > begun)
		l->softirq += now - begun;
	return 0;
}

/* Of Go programs, where they are attached: runtime.stopTheWorldWithSema, which asks all that run to
 * stop, and runtime.startTheWorldWithSema.
 */
SEC("uprobe/stop_the_world")
int stop_the_world(void *ctx __attribute__((unused)))
{
	if (is_current_traced())
		stops_begin(bpf_get_current_pid_tgid() >> 32, bpf_ktime_get_ns());
	return 0;
}

SEC("uprobe/start_the_world")
int start_the_world(void *ctx __attribute__((unused)))
{
	stops_end(bpf_get_current_pid_tgid() >> 32, bpf_ktime_get_ns());
	return 0;
}

/* The kernel sums up the time of the task that runs at each tick. */
SEC("tp_btf/sched_stat_runtime")
int sched_stat_runtime(__u64 *ctx) /* task, ns */
{
	struct task_struct *task = (struct task_struct *)ctx[0];
	struct loop_state *l = busy_loop(task);

	if (!l || l->kept || bpf_ktime_get_ns() - l->since < threshold / 2)
		return 0;
	if ((int)bpf_get_current_pid_tgid() != task->pid)
		return 0;
	look(ctx, l, PLACE_ON_CPU, OWN_FRAMES);
	l->kept = 1;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
