//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How long what is written to a TCP socket is on its way: from the write until it leaves TCP, until
 * the driver has it, and until the peer has acknowledged it. One write of a socket at a time is
 * followed to its end; those that come meanwhile are not counted, so that where fewer are followed
 * they are less in each other's way, and stand for more.
 */
#include <linux/bpf.h>

#define HISTS 3
#define HIST_SCHEDULED 0
#define HIST_DRIVER 1
#define HIST_ACKED 2

#include "../include/hist.h"
#include "../include/sample.h"
#include "../include/sock.h"
#include "../include/traced.h"

/* include/uapi/linux/bpf.h of Linux 6.15 */
#define SOL_SOCKET 1
#define SK_BPF_CB_FLAGS 1009
#define SK_BPF_CB_TX_TIMESTAMPING 1
#define TSTAMP_SCHED_CB 16
#define TSTAMP_SND_SW_CB 17
#define TSTAMP_ACK_CB 19
#define TSTAMP_SENDMSG_CB 20

/* What the walk tells sockets: to begin, or by 0 to end. Writer: user space. */
__u32 flags_of_walk = SK_BPF_CB_TX_TIMESTAMPING;

struct bpf_sock_ops_kern {
	int unused;
} __attribute__((preserve_access_index));

extern void *bpf_cast_to_kern_ctx(void *) __ksym;
extern int bpf_sock_ops_enable_tx_tstamp(struct bpf_sock_ops_kern *, __u64) __ksym;

struct sent {
	__u64 at; /* ns: the write that is followed; 0: none is */
	__u32 seen; /* the histograms that it has been counted in, by bit */
	__u32 weight;
};

/* The kernel frees it with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sent);
} writes SEC(".maps");

static __always_inline void begin(struct bpf_sock_ops *ops, struct bpf_sock *sk)
{
	struct sent *s;
	__u32 weight;

	if (!is_current_traced())
		return;
	weight = sampled();
	if (!weight)
		return;
	s = bpf_sk_storage_get(&writes, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!s || s->at)
		return;
	if (bpf_sock_ops_enable_tx_tstamp(bpf_cast_to_kern_ctx(ops), 0) != 0)
		return;
	s->seen = 0;
	s->weight = weight;
	s->at = bpf_ktime_get_ns();
}

static __always_inline void reach(struct bpf_sock *sk, __u32 which)
{
	struct sent *s = bpf_sk_storage_get(&writes, sk, 0, 0);

	if (!s || !s->at || s->seen & 1U << which)
		return;
	s->seen |= 1U << which;
	hist_add(which, s->at, bpf_ktime_get_ns(), s->weight);
	if (which == HIST_ACKED)
		s->at = 0;
}

SEC("sockops")
int sock_ops(struct bpf_sock_ops *ops)
{
	int flags = SK_BPF_CB_TX_TIMESTAMPING;
	struct bpf_sock *sk = ops->sk;

	if (!sk || !is_port(ops->local_port))
		return 1;
	switch (ops->op) {
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		bpf_setsockopt(ops, SOL_SOCKET, SK_BPF_CB_FLAGS, &flags, sizeof(flags));
		break;
	case TSTAMP_SENDMSG_CB:
		begin(ops, sk);
		break;
	case TSTAMP_SCHED_CB:
		reach(sk, HIST_SCHEDULED);
		break;
	case TSTAMP_SND_SW_CB:
		reach(sk, HIST_DRIVER);
		break;
	case TSTAMP_ACK_CB:
		reach(sk, HIST_ACKED);
		break;
	}
	return 1;
}

/* walk tells the sockets of a network namespace that were there before. */
SEC("iter/tcp")
int walk(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	int flags = flags_of_walk;
	struct tcp_sock *tp;

	if (!skc || !is_port(skc->skc_num) || skc->skc_state == BPF_TCP_LISTEN)
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (tp)
		bpf_setsockopt(tp, SOL_SOCKET, SK_BPF_CB_FLAGS, &flags, sizeof(flags));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
