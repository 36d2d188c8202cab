/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a frame to who sent it and what it is; or the reason that it cannot be told. */
#ifndef WEIR_PARSE_H
#define WEIR_PARSE_H

#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include "client.h"
#include "cursor.h"

#define FRAGMENT_OFFSET 0x1fff
#define FRAGMENT_ANY 0x3fff /* the offset, and more fragments follow */
#define FRAGMENT6_OFFSET 0xfff8
#define FRAGMENT6_ANY 0xfff9

/* What a packet is, beside who sent it. */
#define IS_FRAGMENT 0x1
#define IS_NEIGHBOR 0x2 /* neighbor discovery */
#define IS_PLAIN 0x4 /* no IP options or extension headers: a cookie can answer it */

struct packet {
	struct client source;
	__u32 length; /* of the frame, bytes */
	__u16 l3; /* offset of the IP header */
	__be16 port; /* TCP's destination */
	__u8 proto; /* 0 for a later fragment */
	__u8 tcp; /* flags, 0 for what is no TCP */
	__u8 is; /* IS_... */
	__u8 pad;
	__u16 l4; /* offset of the next header of an IPv6 packet with extension headers */
	__u16 pad2;
};

#define NEXT REASON_MAX /* a parser's answer: go on */

/* SYN with FIN or RST, and none of SYN, ACK and RST (null, FIN and Xmas scans), are sent by no
 * TCP. Neither is a data offset below the header's own length or beyond the packet's end.
 */
static __always_inline __u32 parse_tcp(struct cursor *cur, struct packet *p, __u32 l3_left)
{
	struct tcphdr *tcp = cur->pos;
	__u8 flags;

	if ((void *)(tcp + 1) > cur->end)
		return REASON_L4_SHORT;
	flags = ((__u8 *)tcp)[13];
	if (tcp->doff < 5 || (__u32)tcp->doff * 4 > l3_left)
		return REASON_TCP_BAD;
	if (flags & TCP_SYN && flags & (TCP_FIN | TCP_RST))
		return REASON_TCP_BAD;
	if (!(flags & (TCP_SYN | TCP_ACK | TCP_RST)))
		return REASON_TCP_BAD;
	p->tcp = flags;
	p->port = tcp->dest;
	return NEXT;
}

/* l3_left is the bytes of IP payload from the cursor on. */
static __always_inline __u32 parse_l4(struct cursor *cur, struct packet *p, __u32 l3_left)
{
	if (cursor_l4(cur, p->proto, l3_left) != 0)
		return REASON_L4_SHORT;
	if (p->proto == IPPROTO_TCP)
		return parse_tcp(cur, p, l3_left);
	return NEXT;
}

static __always_inline __u32 parse_ipv4(struct cursor *cur, struct packet *p)
{
	struct iphdr *ip = cursor_ipv4(cur);
	__u32 total;

	if (!ip)
		return REASON_IPV4_SHORT;
	total = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || ip->ihl < 5 || total < (__u32)ip->ihl * 4)
		return REASON_IPV4_BAD;
	if (cursor_ipv4_options(cur, ip) != 0 || total > p->length - p->l3)
		return REASON_IPV4_SHORT;
	client_ipv4(&p->source, ip->saddr);
	if (ip->ihl == 5)
		p->is |= IS_PLAIN;
	if (ip->frag_off & bpf_htons(FRAGMENT_ANY))
		p->is |= IS_FRAGMENT;
	/* Only a first fragment has the next header. */
	if (ip->frag_off & bpf_htons(FRAGMENT_OFFSET))
		return NEXT;
	p->proto = ip->protocol;
	return parse_l4(cur, p, total - ip->ihl * 4);
}

static __always_inline int is_ext(__u8 kind)
{
	return kind == IPPROTO_HOPOPTS || kind == IPPROTO_ROUTING || kind == IPPROTO_DSTOPTS ||
	       kind == IPPROTO_FRAGMENT || kind == IPPROTO_AH;
}

/* Neighbor discovery that did not cross a router (RFC 4861 section 7.1): types 133 to 137. */
static __always_inline int is_neighbor(struct cursor *cur, struct ipv6hdr *ip, __u8 proto)
{
	struct icmp6hdr *icmp = cur->pos;

	if (proto != IPPROTO_ICMPV6 || ip->hop_limit != 255 || (void *)(icmp + 1) > cur->end)
		return 0;
	return icmp->icmp6_type >= 133 && icmp->icmp6_type <= 137;
}

/* parse_ipv6_l4 parses what follows the headers of an IPv6 packet: left bytes. */
static __always_inline __u32 parse_ipv6_l4(struct cursor *cur, struct packet *p, struct ipv6hdr *ip,
					   __u8 proto, __u32 left)
{
	p->proto = proto;
	if (is_neighbor(cur, ip, proto))
		p->is |= IS_NEIGHBOR;
	return parse_l4(cur, p, left);
}

/* cursor_at is a cursor at an offset. */
static __always_inline void cursor_at(struct cursor *c, struct xdp_md *ctx, __u32 offset)
{
	c->pos = (void *)(long)ctx->data + (offset & 0x3fff); /* no more than the six may take */
	c->end = (void *)(long)ctx->data_end;
}

/* parse_ext parses one extension header at p->l4, whose kind is p->proto, and moves both on. */
static __always_inline __u32 parse_ext(struct xdp_md *ctx, struct packet *p, int *later)
{
	struct ext_head *ext;
	struct cursor cur;
	__be16 offset;
	__u32 length;

	cursor_at(&cur, ctx, p->l4);
	ext = cursor_ext(&cur, p->proto, &length);
	if (!ext)
		return REASON_EXT_SHORT;
	if (p->proto == IPPROTO_FRAGMENT) {
		__builtin_memcpy(&offset, ext->body, sizeof(offset));
		*later = (offset & bpf_htons(FRAGMENT6_OFFSET)) != 0;
		if (offset & bpf_htons(FRAGMENT6_ANY))
			p->is |= IS_FRAGMENT;
	}
	p->l4 += length;
	p->proto = ext->next;
	return NEXT;
}

/* parse_exts parses an IPv6 packet with extension headers, from p->l3 on. What it knows between
 * two of them is in p, where the verifier does not follow each value that it may have. Like all
 * functions here that are not static it is verified by itself, once, and not on each way to it.
 */
__noinline int parse_exts(struct xdp_md *ctx, struct packet *p)
{
	__u32 length, exts, reason;
	struct ipv6hdr *ip;
	struct cursor cur;
	int later = 0;

	if (!p)
		return REASON_IPV6_SHORT;
	cursor_at(&cur, ctx, p->l3);
	ip = cursor_ipv6(&cur);
	if (!ip)
		return REASON_IPV6_SHORT;
	length = bpf_ntohs(ip->payload_len);
	p->proto = ip->nexthdr;
	p->l4 = p->l3 + sizeof(*ip);
	for (int i = 0; i < MAX_EXTS && is_ext(p->proto) && !later; i++) {
		reason = parse_ext(ctx, p, &later);
		if (reason != NEXT)
			return reason;
	}
	exts = p->l4 - p->l3 - sizeof(*ip);
	if (exts > length)
		return REASON_EXT_SHORT;
	if (later) {
		p->proto = 0;
		return NEXT;
	}
	if (is_ext(p->proto))
		return REASON_EXT_DEPTH;
	cursor_at(&cur, ctx, p->l4);
	return parse_ipv6_l4(&cur, p, ip, p->proto, length - exts);
}

/* parse_ipv6_head parses the header that all IPv6 packets have. */
static __always_inline __u32 parse_ipv6_head(struct packet *p, const struct ipv6hdr *ip)
{
	if (!ip)
		return REASON_IPV6_SHORT;
	if (ip->version != 6)
		return REASON_IPV6_BAD;
	if (bpf_ntohs(ip->payload_len) + sizeof(*ip) > p->length - p->l3)
		return REASON_IPV6_SHORT;
	client_ipv6(&p->source, ip->saddr.in6_u.u6_addr32);
	return NEXT;
}

static __always_inline __u32 parse_ipv6(struct xdp_md *ctx, struct cursor *cur, struct packet *p)
{
	struct ipv6hdr *ip = cursor_ipv6(cur);
	__u32 reason = parse_ipv6_head(p, ip);

	if (reason != NEXT)
		return reason;
	if (is_ext(ip->nexthdr))
		return parse_exts(ctx, p);
	p->is |= IS_PLAIN;
	return parse_ipv6_l4(cur, p, ip, ip->nexthdr, bpf_ntohs(ip->payload_len));
}

static __always_inline int is_vlan(__be16 proto)
{
	return proto == ETH_P_8021Q_BE || proto == ETH_P_8021AD_BE;
}

/* parse_plain fills p in if the packet is what most are: untagged, whole, without IP options or
 * extension headers, and well formed. If it is not it returns 0, and parse begins anew. It takes
 * p's address to no function, so that p is in registers.
 */
static __always_inline int parse_plain(struct xdp_md *ctx, struct packet *p)
{
	struct cursor cur = {(void *)(long)ctx->data, (void *)(long)ctx->data_end};
	struct ethhdr *eth = cursor_eth(&cur);
	struct ipv6hdr *ip;

	if (!eth)
		return 0;
	p->l3 = sizeof(*eth);
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return parse_ipv4(&cur, p) == NEXT && p->is == IS_PLAIN;
	if (eth->h_proto != bpf_htons(ETH_P_IPV6))
		return 0;
	ip = cursor_ipv6(&cur);
	if (parse_ipv6_head(p, ip) != NEXT || is_ext(ip->nexthdr))
		return 0;
	p->is = IS_PLAIN;
	return parse_ipv6_l4(&cur, p, ip, ip->nexthdr, bpf_ntohs(ip->payload_len)) == NEXT &&
	       p->is == IS_PLAIN;
}

/* parse fills p in, or says what stands in the way. p->length is set before. */
__noinline int parse(struct xdp_md *ctx, struct packet *p)
{
	struct cursor cur = {(void *)(long)ctx->data, (void *)(long)ctx->data_end};
	struct ethhdr *eth = cursor_eth(&cur);
	__be16 proto;

	if (!p || !eth)
		return REASON_ETH_SHORT;
	proto = eth->h_proto;
	p->l3 = sizeof(*eth);
	for (int i = 0; i < MAX_VLANS && is_vlan(proto); i++) {
		struct vlan_tag *tag = cursor_vlan(&cur);

		if (!tag)
			return REASON_VLAN_SHORT;
		proto = tag->proto;
		p->l3 += sizeof(*tag);
	}
	if (is_vlan(proto))
		return REASON_VLAN_DEPTH;
	if (proto == bpf_htons(ETH_P_IP))
		return parse_ipv4(&cur, p);
	if (proto == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(ctx, &cur, p);
	return REASON_PASS_NOT_IP;
}

#endif
