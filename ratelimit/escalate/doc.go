// Package escalate decides who is to be cut below the gateway: a client that keeps being refused a policy's
// requests. It is a state machine without a kernel, a timer or a goroutine: who is told is another package's
// (weir/ratelimit/kernel).
//
// A client is escalated when it was refused so often within a window, for a first hold. Whoever comes back
// and does it again is held longer, up to a bound; who has been calm for long enough is forgotten. A [Table]
// holds a bounded number of clients: those who are refused the most.
package escalate
