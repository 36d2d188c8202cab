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

#define MAX_CLASSES 16
#define SET_SLOTS 4
#define CAS_TRIES 4 /* swaps lost in a row before a packet is refused */

enum mode {
	MODE_OFF = 0, /* pass all, count as pass_off */
	MODE_SHADOW = 1, /* count what would be dropped, pass it */
	MODE_ENFORCE = 2,
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
	REASON_IPV4_SHORT = 11, /* ... within the IPv4 header */
	REASON_IPV4_BAD = 12, /* version is not 4, ihl < 5, or total length below the header's */
	REASON_IPV6_SHORT = 13, /* ... within the IPv6 header */
	REASON_IPV6_BAD = 14, /* version is not 6 */
	REASON_EXT_SHORT = 15, /* ... within an IPv6 extension header */
	REASON_EXT_DEPTH = 16, /* more than MAX_EXTS extension headers */
	REASON_L4_SHORT = 17, /* ... within the TCP, UDP or ICMP header */
	REASON_MAX = 18,
};

/* Packets and bytes under one reason and verdict, of one CPU. */
struct counter {
	__u64 packets;
	__u64 bytes;
};

/* Writer: user space. Reader: the program. One entry. */
struct policy {
	__u32 mode; /* enum mode */
	__u32 epoch; /* changes with lists and classes: slots of another one are looked up again */
};

/* Writer: user space. Reader: the program. One per class. All zero: no quota. User space writes
 * it word by word: while it does, a packet may be judged by old and new words.
 */
struct class
{
	__u64 interval; /* ticks between two packets of one client at its rate */
	__u64 tolerance; /* ticks a client may be ahead of its rate: (burst - 1) * interval */
	__u64 total_interval; /* the same for all clients that have no slot */
	__u64 total_tolerance;
};

/* State of a class's total. Writer: the program, by compare-and-swap. */
struct total {
	__u64 tat;
	__u64 pad[7]; /* a cache line of its own */
};

#define SLOT_EMPTY 0ULL
#define SLOT_BUSY 1ULL /* being filled in by one CPU */
#define SLOT_TAKEN (1ULL << 63) /* set in every client's key */

#define SLOT_ALLOWED 0x1 /* flags: no quota holds */

/* One client. Writer: the program; user space reads by mmap, without a lock: counters may be
 * a packet apart.
 */
struct slot {
	__u64 key; /* keyed hash of addr, or one of SLOT_... */
	__u64 tat; /* theoretical arrival time of the next packet, ticks */
	__u64 packets; /* seen since the slot was taken */
	__u64 dropped; /* of those, over the quota */
	__u8 addr[16]; /* the client: an IPv6 prefix, or an IPv4 one as ::ffff:a.b.c.d */
	__u32 epoch; /* policy.epoch at the look-up of class and flags */
	__u8 class_id;
	__u8 flags;
	__u8 pad[2];
	__u64 seen; /* ns of the last packet */
};

/* The slots that a hash may be in: a value of the table. */
struct set {
	struct slot slots[SET_SLOTS];
};

/* Key and value of the lists. A family of its own keeps ::/0 from holding for IPv4. */
struct prefix {
	__u32 bits; /* of what follows: 32 for the family, and those of the address */
	__u8 family[4]; /* 0, 0, 0, 4 or 6 */
	__u8 addr[16]; /* in network order, an IPv4 one in its first four bytes */
};

struct listed {
	__u8 class_id;
	__u8 flags; /* SLOT_ALLOWED */
	__u8 pad[2];
};

_Static_assert(sizeof(struct slot) == 64, "a slot is a cache line");
_Static_assert(sizeof(struct set) == 256, "a set is four of them");
_Static_assert(sizeof(struct class) == 32, "no holes");
_Static_assert(sizeof(struct total) == 64, "a cache line");
_Static_assert(sizeof(struct prefix) == 24, "no holes");
_Static_assert(sizeof(struct listed) == 4, "no holes");

#endif
