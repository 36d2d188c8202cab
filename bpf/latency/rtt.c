//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the kernel knows of each TCP connection, and of who listens: a walk over all sockets of a
 * network namespace. Nothing is attached to anything that runs.
 */
#include <linux/bpf.h>
#include "../include/sock.h"
#include "../include/traced.h"

/* A socket, as user space reads it. Addresses are IPv6, or mapped IPv4. */
struct socket_state {
	__be32 local[4];
	__be32 remote[4];
	__u16 local_port;
	__u16 remote_port;
	__u8 state;
	__u8 retransmits; /* of the oldest segment that is not acknowledged */
	__u8 is_ipv6;
	__u8 padding;
	__u32 srtt_us;
	__u32 mdev_us;
	__u32 total_retransmits;
	__u32 window; /* congestion window, segments */
	__u32 peer_window; /* bytes */
	__u32 unsent; /* bytes */
	__u32 unacked; /* bytes that were sent */
	__u32 unread; /* bytes */
	__u32 backlog; /* of a listener: not accepted yet, and most */
	__u32 most_backlog;
};

_Static_assert(sizeof(struct socket_state) == 80, "no holes");

const struct socket_state *unused_socket_state __attribute__((unused));

static __always_inline __u16 swapped(__be16 port)
{
	return (__u16)(port << 8 | port >> 8);
}

static __always_inline void ends(struct socket_state *s, struct sock_common *skc)
{
	s->local_port = skc->skc_num;
	s->remote_port = swapped(skc->skc_dport);
	s->is_ipv6 = skc->skc_family == AF_INET6;
	if (s->is_ipv6) {
		s->local[0] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[0];
		s->local[1] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[1];
		s->local[2] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[2];
		s->local[3] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[3];
		s->remote[0] = skc->skc_v6_daddr.in6_u.u6_addr32[0];
		s->remote[1] = skc->skc_v6_daddr.in6_u.u6_addr32[1];
		s->remote[2] = skc->skc_v6_daddr.in6_u.u6_addr32[2];
		s->remote[3] = skc->skc_v6_daddr.in6_u.u6_addr32[3];
		return;
	}
	s->local[2] = s->remote[2] = 0xffff0000; /* ::ffff:0:0, as the network has it */
	s->local[3] = skc->skc_rcv_saddr;
	s->remote[3] = skc->skc_daddr;
}

SEC("iter/tcp")
int walk(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct socket_state s = {};
	struct tcp_sock *tp;
	struct sock *sk;

	if (!skc || !is_port(skc->skc_num))
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp)
		return 0;
	s.state = skc->skc_state;
	ends(&s, skc);
	if (s.state == BPF_TCP_LISTEN) {
		sk = (struct sock *)tp;
		s.backlog = sk->sk_ack_backlog;
		s.most_backlog = sk->sk_max_ack_backlog;
	} else {
		s.retransmits = tp->inet_conn.icsk_retransmits;
		s.srtt_us = tp->srtt_us >> 3;
		s.mdev_us = tp->mdev_us >> 2;
		s.total_retransmits = tp->total_retrans;
		s.window = tp->snd_cwnd;
		s.peer_window = tp->snd_wnd;
		s.unsent = tp->write_seq - tp->snd_nxt;
		s.unacked = tp->snd_nxt - tp->snd_una;
		s.unread = tp->rcv_nxt - tp->copied_seq;
	}
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
