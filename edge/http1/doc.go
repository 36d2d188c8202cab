// Package http1 parses HTTP/1.1 request and response heads over bytes, strictly (RFC 9112),
// and writes small answers. It does no I/O, keeps no bytes and allocates nothing per head.
//
// What two parsers could read in two ways is refused: bare line feeds, folded lines, white
// space before a colon, a repeated Host or Content-Length, a length beside a transfer
// encoding.
package http1
