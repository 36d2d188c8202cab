// Package load is the load generator of one process: many WebSocket subscribers on one epoll,
// without a goroutine, timer or channel each. Each conn's events are checked: every one, once,
// in order.
//
// It runs in a process of its own and speaks JSON lines with the one that started it, see
// [Run].
package load
