//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sees connections come and go: a completed handshake proves its source's return path and gives
 * it a slot, and each client's open connections are counted there.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "../include/abi.h"
#include "../include/bucket.h"
#include "../include/client.h"
#include "../include/held.h"
#include "../include/maps.h"
#include "../include/sock.h"
#include "../include/table.h"

/* Set before load: connections of other network namespaces are not ours. 0: all are. */
const volatile __u64 netns_cookie = 0;

/* Set before load: setsockopt takes TCP_BPF_SOCK_OPS_CB_FLAGS (6.12). */
const volatile __u8 has_cb_flags = 0;

#define SOL_TCP 6
#define TCP_BPF_SOCK_OPS_CB_FLAGS 1008
#define TAKE_TRIES 3

/* What each socket is counted on. The kernel frees it with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} conns SEC(".maps");

/* Ports with a listener. Writer: the walk, which sees listeners before connections. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u8);
} listening SEC(".maps");

const struct listener *unused_listener __attribute__((unused));

/* find_key is the slot with a key, NULL if there is none. */
static __noinline struct slot *find_key(__u64 key)
{
	__u32 index = key & set_mask;
	struct set *set = bpf_map_lookup_elem(&quota_state, &index);

	if (!set)
		return NULL;
	for (__u32 i = 0; i < SET_SLOTS; i++) {
		if (*(volatile __u64 *)&set->key[i] == key)
			return slot_at(set, i);
	}
	return NULL;
}

/* own_slot is the slot of an address, taken if need be: NULL if there is no room. is_new says
 * that it was taken.
 */
static __noinline struct slot *own_slot(const struct client *c, __u64 now, __u64 terms, __u64 *key,
					int *is_new)
{
	union terms t = {.word = terms};
	struct client own;
	struct found f = {};

	client_cut(&own, c, ipv4_bits, ipv6_bits);
	for (int i = 0; i < TAKE_TRIES; i++) {
		find(&f, &own, own_bits(c));
		if (!f.set)
			return NULL;
		*key = f.key;
		if (f.own == SET_SLOTS)
			find_free(&f, now);
		if (f.own != SET_SLOTS)
			return slot_at(f.set, f.own);
		if (f.free != SET_SLOTS && take(&f, &own, own_bits(c), now, t.word) == 0) {
			*is_new = 1;
			return slot_at(f.set, f.own);
		}
	}
	count_event(EVENT_SLOT_LOST);
	return NULL;
}

/* hold counts a connection on a slot: 0, or -1 if the slot has become another's meanwhile. */
static __noinline int hold(struct slot *s, __u64 key, __u64 ns, int was_half_open)
{
	if (held_settle(&s->held, ns, was_half_open) != 0)
		return -1;
	if (find_key(key) == s)
		return 0;
	held_release(&s->held);
	return -1;
}

static __always_inline __u64 wide_key(const struct client *c, const struct level *l, __u32 class_id)
{
	struct client wide;

	client_cut(&wide, c, l->ipv4_bits, l->ipv6_bits);
	return client_hash(&wide, wide_bits(level_bits(l, c), class_id)) | SLOT_TAKEN;
}

/* hold_wide counts a connection on the slot of the prefix it is in. */
__noinline __u64 hold_wide(const struct client *c, const struct level *l, __u32 class_id,
			   __u64 word, __u64 now)
{
	struct slot *s;
	__u64 key;

	if (!c || !l)
		return 0;
	s = find_wide(c, now, word, l, class_id);
	key = wide_key(c, l, class_id);
	if (s && hold(s, key, now >> TICK_SHIFT, 1) == 0)
		return key;
	count_event(EVENT_CONN_LOST);
	return 0;
}

/* charge_first charges the connection that brought the proof to the new slot. */
static __always_inline void charge_first(struct slot *s, const struct class *class,
					 const struct client *c, __u64 now)
{
	const struct quota *q = &class->client.connections;
	__u64 tat;

	if (q->interval == 0 || level_bits(&class->client, c) < own_bits(c))
		return;
	tat = gcra(0, now, q->interval, q->limit);
	if (tat)
		__sync_val_compare_and_swap(&s->connection_tat, 0, tat);
}

/* established proves a source, and counts its connection unless conn is NULL: one that this host
 * made is not its peer's.
 */
__noinline int established(const struct client *c, struct conn *conn, int was_half_open)
{
	__u64 now = bpf_ktime_get_ns() << TICK_SHIFT, key = 0;
	union policy_word policy = read_policy();
	struct class *class;
	__u32 class_id;
	int is_new = 0;
	union terms t;
	struct slot *s;

	if (!c)
		return 0;
	t = look_up(c, policy);
	class_id = t.class_id & (MAX_CLASSES - 1);
	class = class_of(policy, t.class_id);
	if (conn && __sync_val_compare_and_swap(&conn->counted, 0, 1) != 0)
		return 0;
	s = own_slot(c, now, t.word, &key, &is_new);
	if (s && is_new && conn && class && was_half_open)
		charge_first(s, class, c, now);
	if (!conn)
		return 0;
	conn->key[0] = conn->key[1] = conn->key[2] = 0;
	if (s && hold(s, key, now >> TICK_SHIFT, was_half_open) == 0)
		conn->key[0] = key;
	else
		count_event(EVENT_CONN_LOST);
	if (!class)
		return 0;
	if (level_bits(&class->client, c) < own_bits(c))
		conn->key[1] = hold_wide(c, &class->client, class_id, policy.word, now);
	if (level_bits(&class->aggregate, c) != 0)
		conn->key[2] = hold_wide(c, &class->aggregate, class_id, policy.word, now);
	return 0;
}

/* closed ends the count of a connection. */
__noinline int closed(struct conn *conn)
{
	if (!conn)
		return 0;
	if (__sync_val_compare_and_swap(&conn->counted, 1, 0) != 1)
		return 0;
	for (int i = 0; i < CONN_SLOTS; i++) {
		struct slot *s;

		if (conn->key[i] == 0)
			continue;
		s = find_key(conn->key[i]);
		if (!s || held_release(&s->held) != 0)
			count_event(EVENT_CONN_LOST);
	}
	return 0;
}

/* unbind takes off whom a connection was charged to. User space does so as well, when it sees the
 * end: whoever comes first.
 */
static __always_inline void unbind(const struct tuple *t)
{
	if (bpf_map_delete_elem(&bindings, t) == 0)
		count_event(EVENT_UNBOUND);
}

static __always_inline int client_of_ops(struct client *c, struct bpf_sock_ops *ops)
{
	if (ops->family == AF_INET) {
		client_ipv4(c, ops->remote_ip4);
		return 0;
	}
	if (ops->family == AF_INET6) {
		/* The context is read a word at a time. */
		volatile __u32 *ip6 = ops->remote_ip6;
		__be32 words[4] = {ip6[0], ip6[1], ip6[2], ip6[3]};

		client_ipv6(c, words);
		return 0;
	}
	return -1;
}

static __noinline int unbind_ops(struct bpf_sock_ops *ops)
{
	struct tuple t = {.local_port = ops->local_port,
			  .remote_port = bpf_ntohl(ops->remote_port)};

	if (client_of_ops(&t.remote, ops) != 0)
		return 0;
	if (ops->family == AF_INET) {
		client_ipv4(&t.local, ops->local_ip4);
	} else {
		volatile __u32 *ip6 = ops->local_ip6;
		__be32 words[4] = {ip6[0], ip6[1], ip6[2], ip6[3]};

		client_ipv6(&t.local, words);
	}
	unbind(&t);
	return 0;
}

SEC("sockops")
int conns_watch(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk;
	struct client c = {};
	struct conn *conn;

	switch (ops->op) {
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		break;
	case BPF_SOCK_OPS_STATE_CB:
		sk = ops->sk;
		if (ops->args[1] != BPF_TCP_CLOSE || !sk)
			return 1;
		conn = bpf_sk_storage_get(&conns, sk, NULL, 0);
		if (conn) {
			closed(conn);
			unbind_ops(ops);
		}
		return 1;
	default:
		return 1;
	}
	if (netns_cookie && bpf_get_netns_cookie(ops) != netns_cookie)
		return 1;
	if (client_of_ops(&c, ops) != 0)
		return 1;
	if (ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) {
		established(&c, NULL, 0);
		return 1;
	}
	sk = ops->sk;
	if (!sk)
		return 1;
	conn = bpf_sk_storage_get(&conns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn) {
		count_event(EVENT_CONN_LOST);
		return 1;
	}
	conn->port = ops->local_port;
	established(&c, conn, 1);
	bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	return 1;
}

/* remote_of_sock and local_of_sock are the ends of a socket. */
static __always_inline void remote_of_sock(struct client *c, struct sock_common *skc)
{
	if (skc->skc_family == AF_INET6) {
		__be32 words[4] = {
			skc->skc_v6_daddr.in6_u.u6_addr32[0], skc->skc_v6_daddr.in6_u.u6_addr32[1],
			skc->skc_v6_daddr.in6_u.u6_addr32[2], skc->skc_v6_daddr.in6_u.u6_addr32[3]};

		client_ipv6(c, words);
	} else {
		client_ipv4(c, skc->skc_daddr);
	}
}

static __always_inline void local_of_sock(struct client *c, struct sock_common *skc)
{
	if (skc->skc_family == AF_INET6) {
		__be32 words[4] = {skc->skc_v6_rcv_saddr.in6_u.u6_addr32[0],
				   skc->skc_v6_rcv_saddr.in6_u.u6_addr32[1],
				   skc->skc_v6_rcv_saddr.in6_u.u6_addr32[2],
				   skc->skc_v6_rcv_saddr.in6_u.u6_addr32[3]};

		client_ipv6(c, words);
	} else {
		client_ipv4(c, skc->skc_rcv_saddr);
	}
}

/* conns_closed sees the end of connections that conns_watch is not told about, where the kernel
 * has no way to have it told: those that were there before it.
 */
SEC("tp_btf/inet_sock_set_state")
int conns_closed(__u64 *ctx) /* sk, old state, new state */
{
	struct sock *sk = (struct sock *)ctx[0];
	int newstate = (int)ctx[2];
	struct conn *conn;

	if (newstate != BPF_TCP_CLOSE)
		return 0;
	conn = bpf_sk_storage_get(&conns, sk, NULL, 0);
	if (conn) {
		struct tuple t = {.local_port = conn->port,
				  .remote_port = bpf_ntohs(sk->__sk_common.skc_dport)};

		closed(conn);
		remote_of_sock(&t.remote, &sk->__sk_common);
		local_of_sock(&t.local, &sk->__sk_common);
		unbind(&t);
	}
	return 0;
}

static __always_inline int is_connected(__u8 state)
{
	return state == BPF_TCP_ESTABLISHED || state == BPF_TCP_FIN_WAIT1 ||
	       state == BPF_TCP_FIN_WAIT2 || state == BPF_TCP_CLOSE_WAIT ||
	       state == BPF_TCP_LAST_ACK || state == BPF_TCP_CLOSING;
}

static __always_inline void write_listener(struct bpf_iter__tcp *ctx, struct sock_common *skc)
{
	struct listener l = {.port = skc->skc_num};
	struct client c = {};
	__u32 port = skc->skc_num;
	__u8 yes = 1;

	l.is_ipv6 = skc->skc_family == AF_INET6;
	local_of_sock(&c, skc);
	client_addr(l.addr, &c);
	bpf_map_update_elem(&listening, &port, &yes, BPF_ANY);
	bpf_seq_write(ctx->meta->seq, &l, sizeof(l));
}

/* conns_walk counts the connections that were there before conns_watch, and writes a struct
 * listener for each listening socket. It may run again: what is counted is not counted twice.
 */
SEC("iter/tcp")
int conns_walk(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	int flags = BPF_SOCK_OPS_STATE_CB_FLAG, had = 0;
	struct tcp_sock *tp;
	struct client c = {};
	struct conn *conn;
	__u32 port;
	__u8 *is_listening;

	if (!skc)
		return 0;
	if (skc->skc_state == BPF_TCP_LISTEN) {
		write_listener(ctx, skc);
		return 0;
	}
	if (!is_connected(skc->skc_state))
		return 0;
	port = skc->skc_num;
	is_listening = bpf_map_lookup_elem(&listening, &port);
	remote_of_sock(&c, skc);
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp)
		return 0;
	if (!is_listening || !*is_listening) {
		established(&c, NULL, 0);
		return 0;
	}
	conn = bpf_sk_storage_get(&conns, tp, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn) {
		count_event(EVENT_CONN_LOST);
		return 0;
	}
	conn->port = port;
	established(&c, conn, 0);
	if (has_cb_flags &&
	    bpf_getsockopt(tp, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, &had, sizeof(had)) == 0) {
		flags |= had;
		bpf_setsockopt(tp, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, &flags, sizeof(flags));
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
