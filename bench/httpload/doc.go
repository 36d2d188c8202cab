// Package httpload is an open-loop load generator of one process for HTTP/1.1: requests are due on
// a fixed schedule, whatever the server does, and go out on many kept conns on one epoll, without a
// goroutine or timer each. Latency is from the time at which a request was due, so that a server
// that holds the load up does not hide it (coordinated omission). It has at most one request on
// each conn; one that is due while all conns wait is sent late, and its wait counts.
//
// It runs in a process of its own and speaks JSON lines with the one that started it, see [Run].
package httpload
