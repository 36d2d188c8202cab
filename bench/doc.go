// Package bench measures weir. Its scenarios run against real processes: a server, load
// generators of our own, and a publisher with a fixed schedule.
//
// The load generator holds its connections on epoll, without a goroutine each, and checks on
// every one of them that each event comes once and in order. Latencies are taken from the time
// at which an event was due, so that a publisher held up by a slow server does not hide it
// (coordinated omission).
package bench
