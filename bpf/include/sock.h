/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What of the kernel's sockets is read: include/net/sock.h, include/linux/tcp.h, and the walk
 * over them of net/ipv4/tcp_ipv4.c. Relocated at load.
 */
#ifndef WEIR_SOCK_H
#define WEIR_SOCK_H

#include <linux/types.h>

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned int skc_hash;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct {
		union {
			__be32 u6_addr32[4];
		} in6_u;
	} skc_v6_daddr;
	struct {
		union {
			__be32 u6_addr32[4];
		} in6_u;
	} skc_v6_rcv_saddr;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
} __attribute__((preserve_access_index));

struct inet_sock {
	__be16 inet_sport; /* stays when a connection is reset, as skc_num does not */
} __attribute__((preserve_access_index));

struct inet_connection_sock {
	__u8 icsk_retransmits;
} __attribute__((preserve_access_index));

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 srtt_us;
	__u32 mdev_us;
	__u32 total_retrans;
	__u32 snd_cwnd;
	__u32 snd_wnd;
	__u32 write_seq;
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 rcv_nxt;
	__u32 copied_seq;
	struct {
		__u64 time; /* us */
	} rcvq_space;
} __attribute__((preserve_access_index));

/* A walk over all TCP sockets of a network namespace, listeners first. */
struct seq_file {
	int unused;
} __attribute__((preserve_access_index));

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} __attribute__((preserve_access_index));

#endif
