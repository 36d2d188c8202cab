// Package tlsconn takes TLS conns through their handshake and gives their record layer, for conns
// that live on an event loop and have no goroutine.
//
// A handshake is crypto/tls's, on a goroutine of a bounded pool. Afterwards the record layer is in
// one of two places:
//
//   - In the kernel, for TLS 1.3 where it takes the keys: the socket is then read and written in
//     plain text, and nothing of the conn is left here. See [Session.Records].
//   - In this process: a [tls.Conn] whose other side is memory. The loop gives it what came and
//     sends what it made; it never blocks.
//
// # What is relied on of crypto/tls
//
//   - A Read that fails with a temporary [net.Error] leaves the conn as it was, with the part of a
//     record that it has (readRecordOrCCS, readFromUntil).
//   - A handshake reads no byte behind the record that it asks for, as that is all it is given: after
//     the client's Finished the socket stands where the kernel is to go on.
//   - Secrets come by Config.KeyLogWriter, which is never a file here. Of what a server sends under
//     the application's keys in its handshake there is nothing but tickets, a record each; they are
//     counted by Config.WrapSession.
//   - Ticket keys are those of the Config that tls.Server was given, whichever GetConfigForClient
//     returns; so tickets hold over a reload of certificates.
package tlsconn
