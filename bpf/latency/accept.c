//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How long a connection takes to be established, and waits for accept(2) then. */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>

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

struct file {
	void *private_data;
} __attribute__((preserve_access_index));

struct socket {
	struct sock *sk;
} __attribute__((preserve_access_index));

struct established {
	__u64 since; /* ns */
	__u32 hash; /* of its addresses, by a secret of the kernel's: another one's differs */
	__u32 weight;
	__u64 handshake; /* ns, from SYN-ACK to ACK; 0: the kernel does not know, as with a SYN
			    cookie */
};

const struct established *unused_established __attribute__((unused));

/* The sockets that are not accepted yet and are followed, by address. Writer: the programs. Gone
 * once it is accepted; one that is closed before stays, and is known by its hash if its memory is
 * another socket's. Full: the oldest are forgotten, and not counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct established);
} queued SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int inet_sock_set_state(__u64 *ctx) /* sk, old state, new state */
{
	struct sock *sk = (struct sock *)ctx[0];
	int before = (int)ctx[1], after = (int)ctx[2];
	struct established e = {};
	__u64 key = (__u64)sk;
	struct tcp_sock *tp;

	if (before != BPF_TCP_SYN_RECV || after != BPF_TCP_ESTABLISHED)
		return 0;
	if (!is_port(sk->__sk_common.skc_num))
		return 0;
	e.weight = sampled();
	if (!e.weight)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (tp)
		e.handshake =
			tp->srtt_us * 125ULL; /* eighths of 1 us; it has no other sample yet */
	e.hash = sk->__sk_common.skc_hash;
	e.since = bpf_ktime_get_ns();
	bpf_map_update_elem(&queued, &key, &e, BPF_ANY);
	return 0;
}

/* socket_of is the address of the socket behind a descriptor of the current task, NULL if that is
 * not a socket's: then what is read is garbage that no key is like.
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
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

static __always_inline int accepted(struct syscall_exit *ctx)
{
	struct established *e;
	struct sock *sk;
	__u64 key;

	if (ctx->ret < 0)
		return 0;
	sk = socket_of(ctx->ret);
	key = (__u64)sk;
	e = bpf_map_lookup_elem(&queued, &key);
	if (!e)
		return 0;
	if (is_current_traced() && e->hash == BPF_CORE_READ(sk, __sk_common.skc_hash)) {
		hist_add(HIST_QUEUED, e->since, bpf_ktime_get_ns(), e->weight);
		if (e->handshake)
			hist_add(HIST_HANDSHAKE, 0, e->handshake, e->weight);
	}
	bpf_map_delete_elem(&queued, &key);
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
