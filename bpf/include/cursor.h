/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Parsers over a cursor: each checks both bounds, advances, and returns its header or NULL. */
#ifndef WEIR_CURSOR_H
#define WEIR_CURSOR_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_VLANS 2 /* 802.1ad: one service tag around one customer tag */
#define MAX_EXTS 6 /* RFC 8200 section 4.1 lists six kinds */

#define ETH_P_8021Q_BE bpf_htons(0x8100)
#define ETH_P_8021AD_BE bpf_htons(0x88A8)

struct cursor {
	void *pos;
	void *end;
};

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

/* Any IPv6 extension header begins so (RFC 8200 section 4, RFC 4302 section 2). */
struct ext_head {
	__u8 next;
	__u8 length;
	__u8 body[6];
};

/* TCP's flags as they are in byte 13 of its header (RFC 9293 section 3.1). */
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

static __always_inline struct ethhdr *cursor_eth(struct cursor *c)
{
	struct ethhdr *eth = c->pos;

	if ((void *)(eth + 1) > c->end)
		return NULL;
	c->pos = eth + 1;
	return eth;
}

static __always_inline struct vlan_tag *cursor_vlan(struct cursor *c)
{
	struct vlan_tag *tag = c->pos;

	if ((void *)(tag + 1) > c->end)
		return NULL;
	c->pos = tag + 1;
	return tag;
}

/* The header's own length is checked by cursor_ipv4_options, once its version is known. */
static __always_inline struct iphdr *cursor_ipv4(struct cursor *c)
{
	struct iphdr *ip = c->pos;

	if ((void *)(ip + 1) > c->end)
		return NULL;
	return ip;
}

static __always_inline int cursor_ipv4_options(struct cursor *c, struct iphdr *ip)
{
	__u32 length = ip->ihl * 4;

	if (c->pos + length > c->end)
		return -1;
	c->pos += length;
	return 0;
}

static __always_inline struct ipv6hdr *cursor_ipv6(struct cursor *c)
{
	struct ipv6hdr *ip = c->pos;

	if ((void *)(ip + 1) > c->end)
		return NULL;
	c->pos = ip + 1;
	return ip;
}

static __always_inline struct ext_head *cursor_ext(struct cursor *c, __u8 kind, __u32 *length)
{
	struct ext_head *ext = c->pos;

	if ((void *)(ext + 1) > c->end)
		return NULL;
	/* A fragment header is always 8 bytes; the authentication header counts in words of
	 * four less two, the others in words of eight less one.
	 */
	if (kind == IPPROTO_FRAGMENT)
		*length = 8;
	else if (kind == IPPROTO_AH)
		*length = (ext->length + 2) * 4;
	else
		*length = (ext->length + 1) * 8;
	if (c->pos + *length > c->end)
		return NULL;
	c->pos += *length;
	return ext;
}

/* cursor_l4 checks that the fixed header of what it knows is there, within the left bytes of the
 * IP packet too; it does not advance.
 */
static __always_inline int cursor_l4(struct cursor *c, __u8 proto, __u32 left)
{
	__u32 length = 0;

	if (proto == IPPROTO_TCP)
		length = sizeof(struct tcphdr);
	else if (proto == IPPROTO_UDP || proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6)
		length = 8;
	return c->pos + length > c->end || length > left ? -1 : 0;
}

#endif
