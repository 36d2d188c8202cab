// Package http1 parses HTTP/1.1 messages over bytes, strictly (RFC 9110, RFC 9112), frames their
// bodies, writes the heads that a gateway sends on, and small answers. It does no I/O, keeps no
// bytes and allocates nothing per message.
//
// What two parsers could read in two ways is refused: bare line feeds, folded lines, white
// space before a colon, a repeated Host or Content-Length, a length beside a transfer
// encoding, a Connection header that names what is for everybody. A [Request] or [Response] is a
// parsed head, [Body] goes over what follows it, [AppendRequestHead] and [AppendResponseHead] write
// a head anew from what was parsed. A [Screen] does the first two to what a client sends, before
// another server reads it.
//
// Nothing here is safe for use by several goroutines, but for [Screen.Switched].
package http1
