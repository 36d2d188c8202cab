// Package local keeps what clients owe in this process: the store of request quotas that are not shared with
// others.
//
// # What is kept
//
// A client of a policy is 32 bytes: a hash of 64 bits, under a seed of this process, and the three words of a
// [ratelimit.State]. Four of them are a set, whose hashes and first words are one cache line, in arrays that are made
// once: a decision takes a hash, a lock of one of 64 shards and, by GCRA, that line, and allocates nothing. Of a
// sliding log a client is kept in a map of its shard. A set that is full has another one for who comes.
//
// # When it is full
//
// Forgotten is only who owes nothing, so no quota is ever given twice. A client whose two sets are full of others that owe
// shares one budget with all such of its shard and policy, under the same quota: less than its own, never more. That
// is counted, see [Store.Stats].
package local
