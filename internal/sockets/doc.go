// Package sockets reaches what gnet keeps to itself: the epoll descriptors of its loops, and a socket's own address. With them a conn is taken out of its loop's
// sight, or not read for a while, and a loop's listeners are found. It is all done to the descriptors, by epoll_ctl(2):
// gnet knows its conns and listeners by their numbers alone, and its events carry nothing else.
package sockets
