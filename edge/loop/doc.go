// Package loop runs the edge's connections on gnet's event loops. It is the only importer of
// gnet.
//
// Each event loop owns its conns, its [hub.Shard], a timing wheel and its counters; a conn
// belongs to one loop for life and nothing of it is touched elsewhere. A conn has no
// goroutine, timer or channel: its deadline sits in the wheel, its bytes stay in gnet's
// buffers until a whole request head or frame is there.
//
// A conn's way: accepted and counted against the descriptor limit; if it is a proxy's, its
// PROXY header read by edge/proxyproto; let in by edge/admit; its request head parsed
// by edge/http1 and routed to a front door; its topics opened by the hub; then WebSocket
// frames by edge/ws, or server-sent events. Whatever ends it is one [CloseReason].
//
// A TLS conn comes another way: accepted here, counted and let in, then through its handshake by
// edge/tlsconn on a pool, and given to the loop that has the fewest. From there on it is as the
// others, its records made by the kernel, or by the conn as it reads and writes.
//
// # What gnet does, and what is done about it
//
//   - An event loop runs its queued tasks until the queue is empty, so a task that queues
//     itself again keeps the loop from its sockets. Slices of a sweep after the first are
//     therefore started through a socket pair, which takes its turn among the other sockets.
//   - Discard(0) discards everything, and Peek copies what spans gnet's two buffers: it is
//     asked only when the bytes that the next frame needs are there.
//   - A failing Write closes the conn before it returns; nothing of a conn is touched after
//     a write without looking at its state.
//   - Its outbound buffer has no bound: [Config.MaxPendingBytes] is checked before a write.
//   - A conn given to a loop has two descriptors for a moment, and at its end gnet keeps the memory
//     of its address's zone as a buffer.
//   - The engine knows its loops when OnTick is called first, not yet at OnBoot.
//   - An accept that fails for want of descriptors stops the engine: conns are refused while
//     there are still some left.
package loop
