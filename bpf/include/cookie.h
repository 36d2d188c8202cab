/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* SYN cookies before the kernel's TCP: a SYN is answered here, the ACK that comes back is the
 * proof of its source's return path, and is the kernel's to accept.
 */
#ifndef WEIR_COOKIE_H
#define WEIR_COOKIE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"
#include "parse.h"

/* Set before load: the kernel has the helpers (6.0), and cookies are wanted. */
const volatile __u8 has_cookies = 0;

/* How long SYNs are answered after the last one that was over the budget. */
const volatile __u64 siege_ns = 10000000000ULL;

/* When a listener on a port was last told to expect cookies, ns; index: the port in host order.
 * The kernel refuses the ACK of a cookie unless the listener has sent one, or was told so by
 * bpf_tcp_gen_syncookie, in the last two minutes. Writers: stamp, which user space runs; and
 * xdp_weir, where the kernel lets it. A port without a listener is never stamped.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u64);
} stamps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct siege);
} sieges SEC(".maps");

#define STAMP_NS 100000000000ULL /* 100 s: well within TCP_SYNCOOKIE_VALID of net/tcp.h */
#define EXPECT_NS 30000000000ULL /* 30 s: how long after a cookie its ACK may come */
#define TCP_MOST 60 /* bytes of a TCP header with all options */

/* The answer's only option. 1460 and 1440 are Ethernet's less the headers. */
struct mss_option {
	__u8 kind;
	__u8 length;
	__be16 mss;
};

#define ANSWER_TCP (sizeof(struct tcphdr) + sizeof(struct mss_option))

static __always_inline int under_siege(__u64 ns)
{
	__u32 zero = 0;
	struct siege *s = bpf_map_lookup_elem(&sieges, &zero);

	return s && *(volatile __u64 *)&s->until > ns;
}

/* besiege begins or prolongs the time in which all unproved SYNs are answered. */
static __always_inline void besiege(__u64 ns)
{
	__u32 zero = 0;
	struct siege *s = bpf_map_lookup_elem(&sieges, &zero);
	__u64 until;

	if (!s)
		return;
	until = *(volatile __u64 *)&s->until;
	if (until > ns + siege_ns - siege_ns / 8) /* not at each packet: the line is shared */
		return;
	if (until <= ns)
		__sync_fetch_and_add(&s->entered, 1);
	*(volatile __u64 *)&s->until = ns + siege_ns;
}

/* expect_cookies notes that one was sent. */
static __always_inline void expect_cookies(__u64 ns)
{
	__u32 zero = 0;
	struct siege *s = bpf_map_lookup_elem(&sieges, &zero);

	if (s && *(volatile __u64 *)&s->expected < ns + EXPECT_NS - EXPECT_NS / 8)
		*(volatile __u64 *)&s->expected = ns + EXPECT_NS;
}

/* cookies_expected reports whether an ACK may bring a cookie back: looking at one costs as much as
 * all else.
 */
static __always_inline int cookies_expected(__u64 ns)
{
	__u32 zero = 0;
	struct siege *s = bpf_map_lookup_elem(&sieges, &zero);

	return s && *(volatile __u64 *)&s->expected > ns;
}

static __always_inline __u64 stamped_at(__be16 port)
{
	__u32 index = bpf_ntohs(port);
	__u64 *at = bpf_map_lookup_elem(&stamps, &index);

	return at ? *(volatile __u64 *)at : 0;
}

static __always_inline int is_stamped(__be16 port, __u64 ns)
{
	__u64 at = stamped_at(port);

	return at != 0 && ns - at < STAMP_NS;
}

/* fold ends a sum of bpf_csum_diff. */
static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* A SYN's TCP header in memory of its own, with room for all options: the helpers want that much
 * to be readable, and a packet may end before.
 */
struct syn {
	struct tcphdr tcp;
	__u8 options[TCP_MOST - sizeof(struct tcphdr)];
};

/* copy_syn copies the header at tcp: its length, or 0 if the packet ends before. */
static __always_inline __u32 copy_syn(struct syn *syn, struct tcphdr *tcp, void *end)
{
	__u32 length, i;

	if ((void *)(tcp + 1) > end)
		return 0;
	__builtin_memcpy(&syn->tcp, tcp, sizeof(*tcp));
	length = syn->tcp.doff * 4;
	if (length < sizeof(*tcp) || length > TCP_MOST)
		return 0;
	for (i = 0; i < sizeof(syn->options); i += 4) {
		void *from = (void *)(tcp + 1) + i;

		if (i >= length - sizeof(*tcp))
			break;
		if (from + 4 > end)
			return 0;
		__builtin_memcpy(&syn->options[i], from, 4);
	}
	return length;
}

/* stamp_listener tells the listener that a SYN is for to expect cookies: 1 if there is one and
 * its kernel lets cookies be made: sysctl net.ipv4.tcp_syncookies is 2, or it is 1 and the
 * listener's queue is full.
 */
static __always_inline int stamp_listener(struct xdp_md *ctx, struct bpf_sock_tuple *tuple,
					  __u32 tuple_size, void *ip, __u32 ip_size,
					  struct syn *syn, __u32 syn_size, __u64 ns)
{
	struct bpf_sock *sk = bpf_skc_lookup_tcp(ctx, tuple, tuple_size, BPF_F_CURRENT_NETNS, 0);
	__u32 port = bpf_ntohs(syn->tcp.dest);
	__s64 cookie = -1;
	__u64 *at;

	if (!sk)
		return 0;
	if (sk->state == BPF_TCP_LISTEN)
		cookie = bpf_tcp_gen_syncookie(sk, ip, ip_size, &syn->tcp, syn_size);
	bpf_sk_release(sk);
	if (cookie < 0)
		return 0;
	at = bpf_map_lookup_elem(&stamps, &port);
	if (at)
		*(volatile __u64 *)at = ns;
	return 1;
}

static __always_inline int stamp_ipv4(struct xdp_md *ctx, struct iphdr *ip, struct syn *syn,
				      __u32 syn_size, __u64 ns)
{
	struct bpf_sock_tuple tuple = {};

	tuple.ipv4.saddr = ip->saddr;
	tuple.ipv4.daddr = ip->daddr;
	tuple.ipv4.sport = syn->tcp.source;
	tuple.ipv4.dport = syn->tcp.dest;
	return stamp_listener(ctx, &tuple, sizeof(tuple.ipv4), ip, sizeof(*ip), syn, syn_size, ns);
}

static __always_inline int stamp_ipv6(struct xdp_md *ctx, struct ipv6hdr *ip, struct syn *syn,
				      __u32 syn_size, __u64 ns)
{
	struct bpf_sock_tuple tuple = {};

	__builtin_memcpy(tuple.ipv6.saddr, &ip->saddr, 16);
	__builtin_memcpy(tuple.ipv6.daddr, &ip->daddr, 16);
	tuple.ipv6.sport = syn->tcp.source;
	tuple.ipv6.dport = syn->tcp.dest;
	return stamp_listener(ctx, &tuple, sizeof(tuple.ipv6), ip, sizeof(*ip), syn, syn_size, ns);
}

static __always_inline void swap_macs(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
}

/* answer_tcp makes the SYN-ACK's header of the SYN's, its checksum as far as the pseudo header
 * goes in sum.
 */
static __always_inline void answer_tcp(struct tcphdr *tcp, const struct tcphdr *syn, __u32 cookie,
				       __u16 mss, __u64 sum)
{
	struct mss_option *option = (void *)(tcp + 1);

	__builtin_memset(tcp, 0, sizeof(*tcp));
	tcp->source = syn->dest;
	tcp->dest = syn->source;
	tcp->seq = bpf_htonl(cookie);
	tcp->ack_seq = bpf_htonl(bpf_ntohl(syn->seq) + 1);
	tcp->doff = ANSWER_TCP / 4;
	tcp->syn = 1;
	tcp->ack = 1;
	tcp->window = bpf_htons(65535);
	option->kind = 2;
	option->length = sizeof(*option);
	option->mss = bpf_htons(mss);
	tcp->check = fold(bpf_csum_diff(NULL, 0, (void *)tcp, ANSWER_TCP, sum));
}

/* The rest of a pseudo header, after the addresses: RFC 9293 section 3.1, RFC 8200 section 8.1. */
#define PSEUDO_REST ((__u64)bpf_htonl(ANSWER_TCP) + (__u64)bpf_htonl(IPPROTO_TCP))

/* answer_at is the IP header of an answer that is as long as it is to be, and goes back to the
 * sender; NULL if the packet ends before its end.
 */
static __always_inline void *answer_at(struct xdp_md *ctx, __u32 l3, __u32 ip_size)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *ip = data + l3;

	if (ip + ip_size + ANSWER_TCP > end || data + sizeof(struct ethhdr) > end)
		return NULL;
	swap_macs(data);
	return ip;
}

/* answer_ipv4 answers a SYN in a packet without IP options: 0, or -1 if it is as it was. After
 * the tail has moved a packet is ours to send or to drop: 1 says to drop it.
 */
__noinline int answer_ipv4(struct xdp_md *ctx, __u32 l3, __u32 length, __u64 ns)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct syn syn = {};
	struct iphdr *ip;
	__s64 cookie;
	__be32 addr;
	__u32 size;

	if (l3 > sizeof(struct ethhdr) + 4 * MAX_VLANS)
		return -1;
	ip = data + l3;
	if ((void *)(ip + 1) > end)
		return -1;
	size = copy_syn(&syn, (void *)(ip + 1), end);
	if (size < sizeof(struct tcphdr) || size > TCP_MOST)
		return -1;
	if (!is_stamped(syn.tcp.dest, ns) && !stamp_ipv4(ctx, ip, &syn, size, ns))
		return -1;
	cookie = bpf_tcp_raw_gen_syncookie_ipv4(ip, &syn.tcp, size);
	if (cookie < 0)
		return -1;
	if (bpf_xdp_adjust_tail(ctx, (int)(l3 + sizeof(*ip) + ANSWER_TCP) - (int)length) != 0)
		return -1;
	ip = answer_at(ctx, l3, sizeof(*ip));
	if (!ip)
		return 1;
	addr = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = addr;
	ip->tot_len = bpf_htons(sizeof(*ip) + ANSWER_TCP);
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000); /* do not fragment */
	ip->ttl = 64;
	ip->tos = 0;
	ip->check = 0;
	ip->check = fold(bpf_csum_diff(NULL, 0, (void *)ip, sizeof(*ip), 0));
	answer_tcp((void *)(ip + 1), &syn.tcp, cookie, 1460,
		   bpf_csum_diff(NULL, 0, &ip->saddr, 8, 0) + PSEUDO_REST);
	return 0;
}

/* answer_ipv6 is answer_ipv4 for IPv6, in a packet without extension headers. */
__noinline int answer_ipv6(struct xdp_md *ctx, __u32 l3, __u32 length, __u64 ns)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct syn syn = {};
	struct in6_addr addr;
	struct ipv6hdr *ip;
	__s64 cookie;
	__u32 size;

	if (l3 > sizeof(struct ethhdr) + 4 * MAX_VLANS)
		return -1;
	ip = data + l3;
	if ((void *)(ip + 1) > end)
		return -1;
	size = copy_syn(&syn, (void *)(ip + 1), end);
	if (size < sizeof(struct tcphdr) || size > TCP_MOST)
		return -1;
	if (!is_stamped(syn.tcp.dest, ns) && !stamp_ipv6(ctx, ip, &syn, size, ns))
		return -1;
	cookie = bpf_tcp_raw_gen_syncookie_ipv6(ip, &syn.tcp, size);
	if (cookie < 0)
		return -1;
	if (bpf_xdp_adjust_tail(ctx, (int)(l3 + sizeof(*ip) + ANSWER_TCP) - (int)length) != 0)
		return -1;
	ip = answer_at(ctx, l3, sizeof(*ip));
	if (!ip)
		return 1;
	__builtin_memcpy(&addr, &ip->saddr, 16);
	__builtin_memcpy(&ip->saddr, &ip->daddr, 16);
	__builtin_memcpy(&ip->daddr, &addr, 16);
	ip->payload_len = bpf_htons(ANSWER_TCP);
	ip->hop_limit = 64;
	answer_tcp((void *)(ip + 1), &syn.tcp, cookie, 1440,
		   bpf_csum_diff(NULL, 0, (void *)&ip->saddr, 32, 0) + PSEUDO_REST);
	return 0;
}

/* is_cookie reports whether an ACK acknowledges a cookie. */
__noinline int is_cookie(struct xdp_md *ctx, __u32 l3, __u32 is_ipv4)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct tcphdr *tcp;

	if (l3 > sizeof(struct ethhdr) + 4 * MAX_VLANS)
		return 0;
	if (is_ipv4) {
		struct iphdr *ip = data + l3;

		tcp = (void *)(ip + 1);
		if ((void *)(tcp + 1) > end)
			return 0;
		return bpf_tcp_raw_check_syncookie_ipv4(ip, tcp) == 0;
	} else {
		struct ipv6hdr *ip = data + l3;

		tcp = (void *)(ip + 1);
		if ((void *)(tcp + 1) > end)
			return 0;
		return bpf_tcp_raw_check_syncookie_ipv6(ip, tcp) == 0;
	}
}

#endif
