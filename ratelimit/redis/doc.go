// Package redis keeps what clients owe in Redis, so that many gateways have one budget: a round trip for each
// request, in which one script decides about all of its policies.
//
// # What is exact
//
// The clock is the server's. GCRA is done in Lua with integers of 64 bits in two halves, and decides what Go and the
// kernel decide, bit for bit; a key goes by itself when nothing is owed. A sliding counter's windows are whole
// microseconds. Sliding logs and concurrent requests are not shared: a gateway that dies would hold them for ever.
//
// # When Redis is gone
//
// A request waits for it no longer than Config.Timeout, and not at all once some in a row have failed: a breaker
// asks again with one request at a time, every Config.Retry. Meanwhile each policy does what its Fallback says. A
// request is refused if any of them refuses. What a gateway let through meanwhile Redis does not know of, and what a
// replica had not got when it becomes the primary is forgotten: [Store.Overshoot] is how much that can be.
package redis
