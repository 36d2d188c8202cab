// Package xdp loads xdp_weir, the XDP program that charges every packet to its source and
// drops what is over the quota, and speaks to its maps. It is a leaf: it imports nothing of
// weir's.
//
// [Spec] is the same on every machine; [Load] is the only step that depends on the kernel.
// The program is attached by an unpinned link: when the process dies, it is gone. [Program.Detach] lets another
// process have the interface, and [Program.Attach] takes it back; to load takes CAP_PERFMON, which a process that
// serves need not keep.
//
// Beside a policy the program is told of clients: [Program.Bind] says whose a connection is,
// [Program.Escalate] who is cut below its quotas for a time. Binding takes no lock that is held for
// longer than a call to the kernel. Locks are taken in the order Program.mu, told.escalating, told.use,
// labels.mu, told.wordMu.
package xdp
