/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps that the programs share. Each object has its own of them; the loader gives them all
 * the first one's.
 */
#ifndef WEIR_MAPS_H
#define WEIR_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"

/* Set before load. */
const volatile __u32 set_mask = 0; /* number of sets - 1, a power of two less one */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct policy);
} current_policy SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GENERATIONS);
	__type(key, __u32);
	__type(value, struct rules);
} policy_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GENERATIONS *MAX_CLASSES);
	__type(key, __u32);
	__type(value, struct class);
} classes SEC(".maps");

/* Who is listed, by longest prefix, one trie per generation and family. Asked when a slot is
 * taken or of an old epoch, and for sources without one, if the heads do not tell. Writer: user
 * space, which makes a new trie and puts it in place of the generation's that does not hold. Full:
 * user space is told.
 */
struct lists {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct prefix));
	__uint(value_size, sizeof(struct listed));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, GENERATIONS);
	__type(key, __u32);
	__array(values, struct lists);
} lists_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, GENERATIONS);
	__type(key, __u32);
	__array(values, struct lists);
} lists_v6 SEC(".maps");

/* What most addresses are listed as, without a trie: see struct heads. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GENERATIONS * 2 << (HEAD_BITS - HEAD_LOW));
	__type(key, __u32);
	__type(value, struct heads);
} list_heads SEC(".maps");

/* The clients. A slot is taken by an unknown one if it is empty or its owner owes nothing and
 * holds no connection, which forgets nothing: a client whose arrival times are past is as one
 * never seen. A set full of owing slots falls to its class's total. max_entries is set before
 * load.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct set);
} quota_state SEC(".maps");

/* Connections that are charged to an identity. Writer: user space, as soon as it has seen a token;
 * conns.c takes them off as they close, so that a process that dies leaves none behind. Full: the
 * connection stays its address's, which user space counts. max_entries is set before load.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tuple);
	__type(value, struct binding);
} bindings SEC(".maps");

/* What happened, by enum event. Writer: the programs, each CPU its own. Reader: user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} events SEC(".maps");

static __always_inline void count_event(__u32 event)
{
	__u64 *n = bpf_map_lookup_elem(&events, &event);

	if (n)
		(*n)++;
}

#endif
