// Package proxy is the gateway's way over net/http: any version of HTTP, trailers, upgrades, gRPC. Requests come to
// [Handler.ServeHTTP], which has the rules decide, then to an upstream by [httputil.ReverseProxy], which streams.
//
// net/http is given conns by [Screen], which lets no byte of HTTP/1.1 through that could be read in another way.
//
// # Whose time it is
//
// A route's Timeout bounds the time from a request's head to its answer's, retries included; its IdleTimeout how long neither side of a body
// may move. An upstream's own bounds are per attempt: to connect, and to answer.
//
// # What is tried again
//
// A request goes to another server if the one that had it could not be connected to; or, of a method that is
// idempotent (RFC 9110, section 9.2.2) and without a body, if it gave no answer, or 502, 503 or 504. The pool's budget bounds
// it.
package proxy
