// Package ws is the WebSocket protocol (RFC 6455) over bytes: handshake, frame headers,
// masking, fragmentation rules, close codes. It does no I/O, keeps no bytes it is given, and
// allocates nothing per frame.
//
// A server feeds what it has of a conn to [Decoder.Next], which answers with the next whole
// frame, or that it needs more, or with the error that ends the conn; [CloseCodeOf] says how
// to put that to the client. Frames to send are appended to a buffer by the Append functions.
//
// It builds on gobwas/ws for masking and op codes. gobwas/ws's own reading is not used: it
// allocates by declared length and accepts lengths that are not minimal.
package ws
