// Package loop is the gateway's way over gnet's event loops, for HTTP/1.1 without TLS: a request is parsed in place,
// decided, and sent to its upstream over a conn of the same loop, and its answer sent back, without a goroutine, a
// lock or an allocation. What it declines goes over to net/http, conn and bytes: see [Deps.Decline].
//
// Each loop owns its clients, its conns to servers, and a timing wheel; a conn belongs to one loop for life and nothing of it is touched
// elsewhere. What is of a request is in an exchange, which a client has from its head to the end of its answer, and which
// serves one after another.
//
// # A request
//
// The head is copied, parsed, and, if the conn's first bytes or its head say what a loop does not do, declined: HTTP/2, Expect,
// trailers, another upgrade than WebSocket's, a route whose upstream wants TLS or HTTP/2. The rules decide
// (gateway/policy); a refusal is one write. If it is admitted it is given a server (gateway/upstream) and a conn to that which idles
// on this loop, or, by a goroutine, a new one, and sent on; its body follows as it comes. The next request on the conn waits in
// gnet's buffer until the answer has ended.
//
// # Back-pressure
//
// Of what one side sends and the other does not take so much waits in gnet's buffers, then the sender's socket is not read. gnet does not
// tell when a buffer has drained; while one has to, the loop looks every millisecond.
//
// # Time
//
// Timeouts are those of the routes and upstreams, to a tick of the wheel, a tenth of a second: at least one, at most two late.
package loop
