// Package load is the load generator of one process: many WebSocket subscribers on one epoll,
// without a goroutine, timer or channel each. Each conn's events are checked: every one, once,
// in order. Or a prober, which opens conns on a schedule to see whether, and how soon, an edge
// shakes hands.
//
// It runs in a process of its own and speaks JSON lines with the one that started it, see
// [Run].
package load
