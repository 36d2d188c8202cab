// Package redis keeps what clients owe in Redis, so that many gateways have one budget: by a round trip for each
// request, in which one script decides about all of its policies, or by leases.
//
// # What is exact
//
// The clock is the server's. GCRA is done in Lua with integers of 64 bits in two halves, and decides what Go and the
// kernel decide, bit for bit; a key goes by itself when nothing is owed. A sliding counter's windows are whole
// microseconds. Sliding logs and concurrent requests are not shared: a gateway that dies would hold them for ever.
//
// # Leases
//
// With [ModeLease] a gateway has Redis charge units of a client in advance, a slice of them, and spends them without
// asking. Since they are charged first, no more is let through than the quota, and what was charged before and is spent
// later: at most a slice of each gateway, see [Store.Bound]. A slice is what the client needs: one unit for who comes
// seldom, twice as many each time that they are used up quickly, up to Policy.Slice. If there are not so many, Redis gives a
// half, a quarter, and so on to the last. One refill of a client is in flight at a time, which is asked for before it is
// needed. Units older than Config.LeaseAge are given back, at most once: if nobody knows whether that was done, they
// are forfeited. What Redis has none of is refused without asking, until there can be some, or for an age, as other gateways
// give some back. Remaining is what Redis said last and what is left here; RetryAfter is not less than the truth by that.
//
// Who has no lease is decided as with [ModeStrict], and counted: when Config.Leases are taken by clients that have
// units, debts or refusals, when 256 wait for one refill or 1024 refills are in flight; and not counted, what costs more than a
// slice, costs nothing and comes without a lease, or has a key longer than 256 bytes.
//
// There are two kinds of locks: that of a shard of leases, and that of the flights, which is taken under it. Refills are
// goroutines of their own, which [Store.Close] waits for; [Store.Run] gives back and forgets.
//
// # When Redis is gone
//
// A request waits for it no longer than Config.Timeout, and not at all once some in a row have failed: a breaker
// asks again with one request at a time, every Config.Retry. Meanwhile leases are spent as long as their age allows, and then
// each policy does what its Fallback says. A request is refused if any of them refuses. What a gateway let through
// meanwhile Redis does not know of, and what a replica had not got when it becomes the primary is forgotten:
// [Store.Overshoot] is how much that can be.
package redis
