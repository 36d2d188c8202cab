/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What kernel and user space share: keys, values, reasons. The Go types are generated from
 * here (bpf2go -type) and held to these layouts by a test.
 */
#ifndef WEIR_ABI_H
#define WEIR_ABI_H

#include <linux/types.h>

/* Time in the quotas is in ticks of 1/16 ns. At the highest rate, 10 M/s, two packets are 1600
 * ticks apart, so that rounding costs 0.06 % at most. 2^64 ticks are 36 years, of which ten may
 * be uptime and one a client's debt (ratelimit.Compile bounds it): no sum of them overflows.
 */
#define TICK_SHIFT 4

#define MAX_CLASSES 64
#define GENERATIONS 2 /* of a policy: one holds, the next is written beside it */
#define SET_SLOTS 4
#define CAS_TRIES 4 /* swaps lost in a row before a packet is refused */
#define MAX_REASONS 64 /* room for reasons to come without another layout */

#define SKETCH_ROWS 4
#define SKETCH_COLUMNS 16384

/* How long a SYN that passed counts as a connection while it is not one yet: one to two of
 * these windows of 2^35 ns, 34 s. The kernel's own wait for a handshake is 63 s by default.
 */
#define HALF_OPEN_SHIFT 35

enum mode {
	MODE_OFF = 0, /* pass all, count as pass_off */
	MODE_SHADOW = 1, /* count what would be dropped, pass it */
	MODE_ENFORCE = 2,
	MODE_UNDER_ATTACK = 3, /* enforce; each unproved SYN is answered with a cookie */
};

/* Why a packet got its verdict. Numbers are ABI: new ones go before REASON_MAX. */
enum reason {
	REASON_PASS_OFF = 0, /* the mode is off */
	REASON_PASS_NOT_IP = 1, /* ARP and what else is neither IPv4 nor IPv6 */
	REASON_PASS_ALLOWED = 2, /* the source is on the allow list */
	REASON_PASS_QUOTA = 3, /* within its client's quota */
	REASON_PASS_TOTAL = 4, /* no slot was free: within the class's total */
	REASON_QUOTA_PACKETS = 5, /* over its client's quota of packets */
	REASON_TABLE_PRESSURE = 6, /* no slot was free, and the class's total is used up */
	REASON_CONTENTION = 7, /* too many CPUs charged the same client at once */
	REASON_ETH_SHORT = 8, /* the frame ends within the Ethernet header */
	REASON_VLAN_SHORT = 9, /* ... within a VLAN tag */
	REASON_VLAN_DEPTH = 10, /* more than MAX_VLANS tags */
	REASON_IPV4_SHORT = 11, /* ... within the IPv4 header, or before its total length */
	REASON_IPV4_BAD = 12, /* version is not 4, ihl < 5, or total length below the header's */
	REASON_IPV6_SHORT = 13, /* ... within the IPv6 header, or before its payload length */
	REASON_IPV6_BAD = 14, /* version is not 6 */
	REASON_EXT_SHORT = 15, /* ... within an IPv6 extension header */
	REASON_EXT_DEPTH = 16, /* more than MAX_EXTS extension headers */
	REASON_L4_SHORT = 17, /* ... within the TCP, UDP or ICMP header */
	REASON_PASS_UNPROVED = 18, /* no proof of its return path: within the budgets for those */
	REASON_PASS_COOKIE = 19, /* a valid SYN cookie came back: the source is proved */
	REASON_PASS_NEIGHBOR = 20, /* IPv6 neighbor discovery from the link itself */
	REASON_COOKIE_SENT = 21, /* a SYN, answered with a cookie */
	REASON_QUOTA_BYTES = 22, /* over its client's quota of bytes */
	REASON_QUOTA_CONNECTIONS = 23, /* ... of new connections */
	REASON_QUOTA_CONCURRENT = 24, /* ... of connections at once */
	REASON_AGGREGATE = 25, /* over a quota of the wider prefix that its client is in */
	REASON_DENIED = 26, /* the source is on the deny list */
	REASON_UNPROVED_SOURCE = 27, /* unproved, and over a client's quota by the sketch */
	REASON_UNPROVED_TOTAL = 28, /* unproved, and the class's budget for those is used up */
	REASON_SYN_FLOOD = 29, /* unproved SYNs over their budget, and no cookie can be sent */
	REASON_OUT_OF_STATE = 30, /* under attack: unproved TCP that is no handshake */
	REASON_FRAGMENT = 31, /* the policy drops fragments */
	REASON_TCP_BAD = 32, /* flags or data offset that no TCP sends */
	REASON_ESCALATED_SYN = 33, /* a new connection of a client that is escalated */
	REASON_ESCALATED = 34, /* over what a client may send while it is escalated */
	REASON_MAX = 35,
};

/* What was done with a packet. */
enum action {
	ACTION_PASS = 0,
	ACTION_DROP = 1,
	ACTION_ANSWER = 2, /* sent back */
	ACTION_MAX = 3,
};

/* Packets and bytes under one reason and action, of one CPU. */
struct counter {
	__u64 packets;
	__u64 bytes;
};

#define POLICY_LISTED_V4 0x1 /* flags: the IPv4 list has entries */
#define POLICY_LISTED_V6 0x2
#define POLICY_BOUND 0x4 /* ... there are bindings: else nobody looks for one */
#define POLICY_ESCALATED 0x8 /* ... there are escalations */

/* Writer: user space. Reader: the programs, as one word, so that its parts fit together. One
 * entry: the one write that switches mode or policy.
 */
struct policy {
	__u32 epoch; /* changes with the policy: slots of another one are looked up again */
	__u8 mode; /* enum mode */
	__u8 generation; /* which of GENERATIONS of classes, lists and rules holds */
	__u8 flags; /* POLICY_... */
	__u8 samples; /* dropped packets to report per reason, CPU and second; 0: nobody listens */
};

/* Rules beside the classes. Writer: user space, of the generation that does not hold. */
struct rules {
	__u64 pass; /* bit for a reason: pass what would be dropped for it */
};

/* A quota of what is counted: packets, connections. interval 0: none. */
struct quota {
	__u64 interval; /* ticks between two at the rate, rounded up */
	__u64 limit; /* burst * interval: how far ahead of the clock one may be */
};

/* A quota of bytes: n of them cost n * mult >> shift ticks, rounded up. mult 0: none. */
struct byte_quota {
	__u64 mult; /* below 2^43, so that no packet of up to 1 MiB overflows */
	__u64 limit; /* ticks */
	__u32 shift; /* at most 32 */
	__u32 pad;
};

/* The four quotas of one width of prefix. */
struct level {
	struct quota packets;
	struct quota connections; /* new ones */
	struct byte_quota bytes;
	__u32 concurrent; /* 0: none */
	__u8 ipv4_bits; /* of an address, that are one client; 0: this level is not charged */
	__u8 ipv6_bits;
	__u8 pad[2];
};

#define CLASS_SLOTS_FOR_ALL 0x1 /* flags: exact slots without proof of the return path */
#define CLASS_ONE_SLOT_V4 0x2 /* ... an IPv4 client is charged on its own slot and no other */
#define CLASS_ONE_SLOT_V6 0x4
#define CLASS_COARSE 0x8 /* ... a tick is little beside what unproved ones may send */

/* A class of clients. Writer: user space, of the generation that does not hold. Index:
 * generation * MAX_CLASSES + class. All zero: no quota.
 */
struct class
{
	struct level client;
	struct level aggregate; /* a wider prefix, charged beside the client */
	struct quota unproved_packets; /* all sources without proof or slot together */
	struct byte_quota unproved_bytes;
	struct quota unproved_syns; /* above this SYNs are answered with cookies */
	__u64 lease; /* ticks that a CPU takes off a budget at once */
	__u32 flags;
	__u32 pad;
};

/* What the budgets of a class have used. Writer: the programs, by compare-and-swap. */
struct pool {
	__u64 packets;
	__u64 bytes;
	__u64 syns;
	__u64 pad[5]; /* a cache line of its own */
};

/* What one CPU has taken off a budget and not spent, ticks; and until when it need not ask
 * again. One for each budget of struct pool.
 */
struct purse {
	__u64 left;
	__u64 until;
};

struct purses {
	struct purse packets;
	struct purse bytes;
	struct purse syns;
};

/* Whether SYNs are answered with cookies. Writer: the program. */
struct siege {
	__u64 until; /* ns: all unproved ones are */
	__u64 expected; /* ns: until then cookies may come back */
	__u64 entered; /* how often it began */
	__u64 pad[5];
};

#define SLOT_EMPTY 0ULL
#define SLOT_BUSY 1ULL /* being filled in by one CPU */
#define SLOT_TAKEN (1ULL << 63) /* set in every client's key */

#define SLOT_ALLOWED 0x1 /* flags: no quota holds */
#define SLOT_DENIED 0x2 /* flags: nothing passes */

#define SLOT_IDENTITY                                                                              \
	0xff /* bits: the client is an identity, and its address's place has the                   \
	      * first bytes of its name                                                            \
	      */

/* One client's state: a cache line. Writer: the programs; user space reads by mmap, without a
 * lock: counters may be a packet apart.
 */
struct slot {
	__u64 packet_tat; /* theoretical arrival time of the next packet, ticks */
	__u64 byte_tat;
	__u64 connection_tat;
	__u64 held; /* connections open and half open, see held.h */
	__u32 epoch; /* policy.epoch at the look-up of class and flags */
	__u8 class_id;
	__u8 flags;
	__u8 reason; /* of the last packet refused */
	__u8 bits; /* of the address, that are the client, or SLOT_IDENTITY */
	__u64 seen; /* ns of the last packet */
	__u64 packets; /* seen since the slot was taken */
	__u64 dropped; /* of those, refused or, in mode shadow, to be refused */
};

/* The slots that a hash may be in: a value of the table. Keys come first, so that a look-up
 * reads one cache line, and a second one of the client it finds.
 */
struct set {
	__u64 key[SET_SLOTS]; /* keyed hash of address and width, or one of SLOT_... */
	__u64 spared[SET_SLOTS]; /* of slot.dropped, passed in mode shadow */
	struct slot slot[SET_SLOTS];
	__u8 addr[SET_SLOTS][16]; /* an IPv6 prefix, or an IPv4 one as ::ffff:a.b.c.d */
};

#define CONN_SLOTS 3

/* What a connection is counted on, kept with its socket. */
struct conn {
	__u64 key[CONN_SLOTS]; /* of its address's slot, its client's if that is wider, its
				* aggregate's; 0: none
				*/
	__u64 counted; /* 1 from established to closed */
	__u16 port; /* the local one, which the kernel's socket has lost when conns_closed sees it
		     */
	__u8 pad[6];
};

/* An address: IPv6, or IPv4 mapped into it (RFC 4291 section 2.5.5.2), in host order. */
struct client {
	__u64 hi;
	__u64 lo;
};

/* A TCP connection, ports in host order. */
struct tuple {
	struct client remote;
	struct client local;
	__u16 remote_port;
	__u16 local_port;
	__u32 pad;
};

/* Whom a connection is charged to instead of its address. Writer: user space; epoch and flags,
 * which are of the address, and begin as 0: the program.
 */
struct binding {
	__u64 key; /* the identity's: of its slot, and of its escalation */
	struct client name; /* the first 16 bytes of its name, zeros after its end */
	__u32 epoch; /* policy.epoch when the lists were asked about the address; 0: never */
	__u16 label; /* of the class, by name */
	__u8 flags; /* SLOT_ALLOWED, SLOT_DENIED */
	__u8 pad;
};

/* A class by name: bindings outlive the policy that numbered it. Label 0 is the default class. */
#define MAX_LABELS 1024

struct label {
	__u64 name; /* keyed hash of it; 0: the label is free */
	__u8 class_id[GENERATIONS]; /* 0 if the policy has no class of that name */
	__u8 pad[6];
};

#define ESCALATION_REFUSES_NEW 0x1 /* flags: new connections */
#define POLICY_NAME 32
#define CLIENT_NAME 128

/* A client that is cut below its quotas for a time. Writer: user space; tat, dropped and refused:
 * the program. What comes after them is user space's alone, so that a process that comes after
 * knows whom it is about.
 */
struct escalation {
	__u64 until; /* ns: as if it were not there from then on */
	struct quota packets; /* what may pass; interval 0: nothing */
	__u64 tat;
	__u64 dropped; /* packets */
	__u64 refused; /* of those, new connections */
	__u32 flags; /* ESCALATION_... */
	__u8 bits; /* as a slot's */
	__u8 pad[3];
	__u64 since; /* ns */
	__u8 policy[POLICY_NAME]; /* text, zeros after its end; longer ones are cut */
	__u8 name[CLIENT_NAME]; /* an identity's, as policy; of a prefix the address, as in a set */
};

/* A listening socket, as the walk writes it. */
struct listener {
	__u8 addr[16]; /* as in a set */
	__u16 port;
	__u8 is_ipv6; /* its family; an IPv6 one may take IPv4 too */
	__u8 pad[5];
};

/* A CPU's sketch of what unproved sources owe: arrival times, as a slot's. Each source has a
 * cell in each row, and owes the least of those: never too little.
 */
struct sketch {
	__u64 cell[SKETCH_ROWS][SKETCH_COLUMNS];
};

/* Key and value of the lists. A family of its own keeps ::/0 from holding for IPv4. */
struct prefix {
	__u32 bits; /* of what follows */
	__u8 addr[16]; /* in network order, an IPv4 one in its first four bytes */
};

struct listed {
	__u8 class_id;
	__u8 flags; /* SLOT_ALLOWED, SLOT_DENIED */
	__u8 pad[2];
};

/* What is listed of all addresses that begin with the same HEAD_BITS, so that most are not looked
 * up in a trie: class_id and flags, or HEAD_MIXED if a listed prefix is longer. Index: generation,
 * is it IPv6, the bits but for the last HEAD_LOW. Writer: user space, of the generation that does
 * not hold.
 */
#define HEAD_BITS 20
#define HEAD_LOW 6 /* a cache line of them is a value */
#define HEAD_CLASS 0x3f
#define HEAD_FLAGS_SHIFT 6
#define HEAD_MIXED 0xc0 /* allowed and denied, which nothing is */

struct heads {
	__u8 is[1 << HEAD_LOW];
};

#define SAMPLE_BYTES 128

/* A packet that was refused, as the ring buffer has it. */
struct sample {
	__u64 ns;
	__u64 missed; /* refused for this reason on this CPU since the last sample, not reported */
	__u32 ifindex;
	__u32 length; /* of the packet */
	__u32 captured; /* bytes of data that are the packet's */
	__u16 queue;
	__u8 reason;
	__u8 action; /* ACTION_PASS in mode shadow */
	__u8 data[SAMPLE_BYTES];
};

/* How many samples were taken of a reason, by one CPU. */
struct sampling {
	__u64 second; /* ns >> 30 */
	__u64 taken; /* in that second */
	__u64 missed; /* since the last sample */
	__u64 total; /* missed ever */
};

/* What happened that no packet's reason tells. */
enum event {
	EVENT_SLOT_LOST = 0, /* no slot for a proved client: its set is full of owing ones */
	EVENT_CONN_LOST = 1, /* a connection that could not be counted */
	EVENT_TAKEN = 2, /* slots taken */
	EVENT_UNBOUND =
		3, /* bindings that went with their connection, before user space took them off */
	EVENT_MAX = 4,
};

_Static_assert(sizeof(struct policy) == 8, "a policy is a word");
_Static_assert(sizeof(struct slot) == 64, "a slot is a cache line");
_Static_assert(sizeof(struct set) == 384, "a set is six of them");
_Static_assert(sizeof(struct level) == 64, "no holes");
_Static_assert(sizeof(struct class) == 200, "no holes");
_Static_assert(sizeof(struct pool) == 64, "a cache line");
_Static_assert(sizeof(struct conn) == 40, "no holes");
_Static_assert(sizeof(struct tuple) == 40, "no holes: it is a key");
_Static_assert(sizeof(struct binding) == 32, "half a cache line");
_Static_assert(sizeof(struct label) == 16, "no holes");
_Static_assert(sizeof(struct escalation) == 224, "no holes");
_Static_assert(sizeof(struct prefix) == 20, "no holes");
_Static_assert(sizeof(struct listed) == 4, "no holes");
_Static_assert(sizeof(struct heads) == 64, "a cache line");
_Static_assert(MAX_CLASSES == HEAD_CLASS + 1, "a head has the class");
_Static_assert((SLOT_ALLOWED | SLOT_DENIED) << HEAD_FLAGS_SHIFT == HEAD_MIXED, "and the flags");
_Static_assert(sizeof(struct sample) == 160, "no holes");
_Static_assert((int)REASON_MAX <= (int)MAX_REASONS, "reasons fit");

#endif
