//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How long what a TCP socket has received waits to be read: from the first that nobody has read,
 * until the next read.
 */
#include <linux/bpf.h>

#define HISTS 1

#include "../include/hist.h"
#include "../include/sample.h"
#include "../include/sock.h"
#include "../include/traced.h"

#define MSG_PEEK 2

struct unread {
	__u64 since; /* ns; 0: there is nothing to be read */
	__u32 weight; /* 0: it is not followed */
	__u32 padding;
};

/* Since when each socket has something to be read. The kernel frees it with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct unread);
} readable SEC(".maps");

static __always_inline int is_conn(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	if (family != AF_INET && family != AF_INET6)
		return 0;
	if (sk->sk_protocol != IPPROTO_TCP || sk->__sk_common.skc_state == BPF_TCP_LISTEN)
		return 0;
	return is_port(sk->__sk_common.skc_num);
}

SEC("tp_btf/sk_data_ready")
int sk_data_ready(__u64 *ctx) /* sk */
{
	struct sock *sk = (struct sock *)ctx[0];
	struct unread *u;

	if (!is_conn(sk))
		return 0;
	u = bpf_sk_storage_get(&readable, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!u || u->since)
		return 0;
	u->weight = sampled();
	u->since = u->weight ? bpf_ktime_get_ns() : 1; /* what comes next is not the first either */
	return 0;
}

SEC("tp_btf/sock_recv_length")
int sock_recv_length(__u64 *ctx) /* sk, bytes or error, flags */
{
	struct sock *sk = (struct sock *)ctx[0];
	int bytes = (int)ctx[1];
	struct unread *u;

	if (bytes < 0 || ((int)ctx[2] & MSG_PEEK) || !is_conn(sk))
		return 0;
	u = bpf_sk_storage_get(&readable, sk, 0, 0);
	if (!u || !u->since)
		return 0;
	if (bytes > 0 && u->weight && is_current_traced())
		hist_add(0, u->since, bpf_ktime_get_ns(), u->weight);
	u->since = 0;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
