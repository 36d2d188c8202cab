//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which of the listeners of one port takes a connection: one of the CPU that its SYN came in on, so
 * that the kernel's part of it and ours share that CPU's caches.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Set before load: the listeners that a CPU may have. */
const volatile __u32 width = 1;

/* Those of CPU c from c * width on. Writer: user space; a listener that closes leaves an empty
 * place. Its size is CPUs * width.
 */
struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps");

/* How many a CPU has. Writer: user space. Its size is CPUs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} counts SEC(".maps");

/* steer is asked for each connection request. Where it selects nothing the kernel does, by its
 * hash. */
SEC("sk_reuseport")
int steer(struct sk_reuseport_md *md)
{
	__u32 cpu = bpf_get_smp_processor_id();
	__u32 *count = bpf_map_lookup_elem(&counts, &cpu);
	__u32 at;

	if (!count || *count == 0 || *count > width)
		return SK_PASS;
	at = cpu * width + md->hash % *count;
	bpf_sk_select_reuseport(md, &listeners, &at, 0);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
