//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Makes the frames of a flood. Each run copies the next template over the frame, gives it a
 * source, a port and numbers of its own, mends the checksums, and sends it out of an interface.
 * Run by BPF_PROG_TEST_RUN with live frames, whose pages come back as the receiver left them:
 * hence the copy.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in6.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FRAME_BYTES 192 /* of each frame given to the program, a multiple of 8 */
#define MAX_TEMPLATES 64
#define MAX_SOURCES 4096 /* of each family */

/* A frame with zeros where each copy differs, and checksums that are right for the zeros. The
 * offsets are from the start of the frame; 0 is for what it does not have.
 */
struct template
{
	__u8 frame[FRAME_BYTES];
	__u8 len; /* bytes of it that are sent */
	__u8 v6;
	__u8 source; /* 4 bytes, or 16 */
	__u8 id; /* of a fragment: 2 bytes, or 4 */
	__u8 port; /* the source's, 2 bytes */
	__u8 seq; /* 4 bytes */
	__u8 ip_check;
	__u8 l4_check;
};

_Static_assert(sizeof(struct template) == FRAME_BYTES + 8, "no holes");

/* Set before load. */
const volatile __u32 ifindex = 0; /* where the frames go */
const volatile __u32 template_count = 0;
const volatile __u32 source4_count = 0; /* 0: they are spoofed */
const volatile __u32 source6_count = 0;
const volatile __u32 prefix4 = 0; /* of the spoofed ones, in network order; the mask is what it
				   * leaves free */
const volatile __u32 prefix4_free = 0;
const volatile __u32 prefix6[4] = {};
const volatile __u32 prefix6_free[4] = {};

/* Writer: user space, before the first run. Reader: the program. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_TEMPLATES);
	__type(key, __u32);
	__type(value, struct template);
} templates SEC(".maps");

/* As templates: the real sources, which take turns. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SOURCES);
	__type(key, __u32);
	__type(value, __u32);
} sources4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SOURCES);
	__type(key, __u32);
	__type(value, struct in6_addr);
} sources6 SEC(".maps");

/* Frames made, of each CPU. Writer: the program. Reader: user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} made SEC(".maps");

/* Adds the words of a field, in the order of memory, to a sum (RFC 1071). */
static __always_inline __u32 words(const void *field, int bytes)
{
	const __u16 *w = field;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < bytes / 2; i++)
		sum += w[i];
	return sum;
}

/* Writes a field over zeros. Returns false if it is not within the frame. */
static __always_inline bool put(struct xdp_md *ctx, __u32 offset, const void *field, int bytes)
{
	void *p = (void *)(long)ctx->data + offset;

	if (p + bytes > (void *)(long)ctx->data_end)
		return false;
	__builtin_memcpy(p, field, bytes);
	return true;
}

/* Adds a sum of words that were zero to the checksum at an offset (RFC 1624). */
static __always_inline bool mend(struct xdp_md *ctx, __u32 offset, __u32 sum)
{
	__u16 *check = (void *)(long)ctx->data + offset;

	if (!offset)
		return true;
	if ((void *)(check + 1) > (void *)(long)ctx->data_end)
		return false;
	sum += (__u16) ~*check;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	/* 0 and 0xffff are the same number, but in UDP 0 is for no checksum. */
	*check = (__u16)sum == 0xffff ? 0xffff : (__u16)~sum;
	return true;
}

static __always_inline bool copy(struct xdp_md *ctx, const struct template *t)
{
	const __u64 *from = (const __u64 *)t->frame;
	__u64 *to = (void *)(long)ctx->data;

	if ((void *)to + FRAME_BYTES > (void *)(long)ctx->data_end)
		return false;
#pragma unroll
	for (int i = 0; i < FRAME_BYTES / 8; i++)
		to[i] = from[i];
	return true;
}

/* Writes the n-th source and adds its words to the sum. */
static __always_inline bool source4(struct xdp_md *ctx, __u32 offset, __u64 n, __u32 *sum)
{
	__u32 addr = prefix4 | (bpf_get_prandom_u32() & prefix4_free);

	if (source4_count) {
		__u32 i = n % source4_count;
		__u32 *real = bpf_map_lookup_elem(&sources4, &i);

		if (!real)
			return false;
		addr = *real;
	}
	*sum += words(&addr, sizeof(addr));
	return put(ctx, offset, &addr, sizeof(addr));
}

static __always_inline bool source6(struct xdp_md *ctx, __u32 offset, __u64 n, __u32 *sum)
{
	__u32 addr[4];

	if (source6_count) {
		__u32 i = n % source6_count;
		struct in6_addr *real = bpf_map_lookup_elem(&sources6, &i);

		if (!real)
			return false;
		__builtin_memcpy(addr, real, sizeof(addr));
	} else {
#pragma unroll
		for (int i = 0; i < 4; i++)
			addr[i] = prefix6[i] | (bpf_get_prandom_u32() & prefix6_free[i]);
	}
	*sum += words(addr, sizeof(addr));
	return put(ctx, offset, addr, sizeof(addr));
}

/* Makes the n-th frame. */
static __always_inline bool make(struct xdp_md *ctx, const struct template *t, __u64 n)
{
	__u32 id = bpf_get_prandom_u32(), seq = bpf_get_prandom_u32();
	__u16 port = bpf_htons(0x8000 | (id >> 16));
	__u32 ip = 0, l4 = 0;

	if (!copy(ctx, t))
		return false;
	if (t->v6) {
		if (!source6(ctx, t->source, n, &l4))
			return false;
		if (t->id && !put(ctx, t->id, &id, 4))
			return false;
	} else {
		if (!source4(ctx, t->source, n, &l4))
			return false;
		ip = l4 + (__u16)id;
		if (!put(ctx, t->id, &id, 2))
			return false;
	}
	if (t->port) {
		l4 += port;
		if (!put(ctx, t->port, &port, sizeof(port)))
			return false;
	}
	if (t->seq) {
		l4 += words(&seq, sizeof(seq));
		if (!put(ctx, t->seq, &seq, sizeof(seq)))
			return false;
	}
	return mend(ctx, t->ip_check, ip) && mend(ctx, t->l4_check, l4);
}

SEC("xdp")
int flood(struct xdp_md *ctx)
{
	__u32 zero = 0, which;
	struct template *t;
	__u64 *n = bpf_map_lookup_elem(&made, &zero);

	if (!n || !template_count)
		return XDP_ABORTED;
	which = *n % template_count;
	t = bpf_map_lookup_elem(&templates, &which);
	if (!t || !make(ctx, t, *n / template_count))
		return XDP_ABORTED;
	if (bpf_xdp_adjust_tail(ctx, (int)t->len - FRAME_BYTES))
		return XDP_ABORTED;
	(*n)++;
	return bpf_redirect(ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
