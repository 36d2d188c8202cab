//go:build race

package tlsconn

// sealAllocs bounds the allocations of a batch: under the race detector a sync.Pool drops some of what is
// given back, at random, and crypto/tls has its buffers from one.
const sealAllocs = 4
