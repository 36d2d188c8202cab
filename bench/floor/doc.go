// Package floor is the least that a fan-out server can do: one thread that writes each message to
// each conn, and nothing else. No server that makes one write a delivery can be cheaper.
//
// It is a C program, compiled where there is a compiler, and else the same in Go on raw system
// calls. Both listen on loopback, say "ready", answer a conn's first bytes with a prepared
// response, and take each line of their input for a message. It knows no slow consumer: a
// conn that does not read stops it.
package floor
