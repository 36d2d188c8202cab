// Package ws is the WebSocket protocol (RFC 6455) over bytes: handshake, frame headers,
// masking, fragmentation rules, close codes, and permessage-deflate (RFC 7692). It does no I/O
// and keeps no bytes it is given. It allocates nothing per frame, except for what is inflated.
//
// A server feeds what it has of a conn to [Decoder.Next], which answers with the next whole
// frame, or that it needs more, or with the error that ends the conn; [CloseCodeOf] says how
// to put that to the client. Frames to send are appended to a buffer by the Append functions.
// Compressors are pooled: they belong to no conn, as no conn has a window that outlives a message.
//
// It builds on gobwas/ws for masking and op codes. gobwas/ws's own reading is not used: it
// allocates by declared length and accepts lengths that are not minimal.
package ws
