//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How long a connection takes to be established, and waits for accept(2) then. */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#define HISTS 2
#define HIST_QUEUED 0
#define HIST_HANDSHAKE 1

#include "../include/hist.h"
#include "../include/sample.h"
#include "../include/sock.h"
#include "../include/traced.h"

struct fdtable {
	unsigned int max_fds;
	void **fd;
} __attribute__((preserve_access_index));

struct files_struct {
	struct fdtable *fdt;
} __attribute__((preserve_access_index));

struct inode {
	__u16 i_mode;
} __attribute__((preserve_access_index));

struct file {
	struct inode *f_inode;
	void *private_data;
} __attribute__((preserve_access_index));

struct socket {
	struct sock *sk;
} __attribute__((preserve_access_index));

#define S_IFMT 0170000
#define S_IFSOCK 0140000

/* socket_of is the address of the socket behind a descriptor of the current task, NULL if there is
 * none: another thread may have closed it already.
 */
static __always_inline struct sock *socket_of(__s64 descriptor)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
	struct fdtable *table = task->files->fdt;
	struct file *file = NULL;
	struct socket *socket;

	if (descriptor < 0 || descriptor >= table->max_fds)
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), table->fd + descriptor);
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

/* The kernel keeps what is asked for: when the receive buffer began to be measured, which is when
 * the connection is established, and again not before it is read from (tcp_init_buffer_space and
 * tcp_rcv_space_adjust, net/ipv4/tcp_input.c); and of round trips nothing but that of the
 * handshake, as long as nobody has sent.
 */
static __always_inline int accepted(struct syscall_exit *ctx)
{
	__u64 established, handshake;
	struct tcp_sock *tp;
	struct sock *sk;
	__u16 family;
	__u32 weight;

	if (ctx->ret < 0 || !is_current_traced())
		return 0;
	weight = sampled();
	if (!weight)
		return 0;
	sk = socket_of(ctx->ret);
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP ||
	    !is_port(bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport))))
		return 0;
	tp = (struct tcp_sock *)sk;
	established = BPF_CORE_READ(tp, rcvq_space.time) * 1000; /* us */
	if (!established)
		return 0;
	hist_add(HIST_QUEUED, established, bpf_ktime_get_ns(), weight);
	/* In eighths of 1 us. 0: the kernel does not know, as with a SYN cookie. */
	handshake = BPF_CORE_READ(tp, srtt_us) * 125ULL;
	if (handshake)
		hist_add(HIST_HANDSHAKE, 0, handshake, weight);
	return 0;
}

SEC("tp/syscalls/sys_exit_accept")
int sys_exit_accept(struct syscall_exit *ctx)
{
	return accepted(ctx);
}

SEC("tp/syscalls/sys_exit_accept4")
int sys_exit_accept4(struct syscall_exit *ctx)
{
	return accepted(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
