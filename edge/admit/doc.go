// Package admit decides whether an edge takes in a conn: by how many its client's prefix holds
// already, by how fast that prefix opens them, and by how fast the whole edge does. It knows
// addresses and times and nothing of sockets; the arithmetic of rates is that of the quotas in
// the kernel (weir/ratelimit).
//
// A [Gate] is asked by all loops. Its state is cut into shards by a hash of the prefix that is
// seeded anew by each process, each under a mutex that is held for one look at a map and a set.
// The mutexes are never held two at a time. The rate of the whole edge is one atomic word,
// moved while a shard is held.
package admit
