package loop

import (
	"errors"
	"os"

	"weir/internal/sockets"

	"golang.org/x/sys/unix"
)

// gnet keeps its epoll descriptors and its listeners to itself. A takeover needs them: it stops a
// loop's listeners without closing them, takes conns out of their loop's sight while they are on
// their way, and has loops accept from listeners that another process made. All of that is done
// to the descriptors, by epoll_ctl(2) and dup3(2): gnet knows its conns and listeners by their
// numbers alone, and its events carry nothing else.

// Listeners are the descriptors of the sockets that the loops accept from. They stay the server's, which
// is ready.
func (s *Server) Listeners() (listeners []int, err error) {
	err = s.eachListener(func(_, fd int) { listeners = append(listeners, fd) })
	return listeners, err
}

// eachListener calls f for the listeners that it can find, with the epoll descriptors that watch them.
func (s *Server) eachListener(f func(poller, fd int)) (err error) {
	for _, l := range s.allLoops() {
		fds, e := sockets.ListenersOf(l.poller)
		err = errors.Join(err, e)
		for _, fd := range fds {
			f(l.poller, fd)
		}
	}
	return err
}

// replace makes fd what other is, which is closed. Its poller does not watch it.
func replace(fd, other int) error {
	err := unix.Dup3(other, fd, unix.O_CLOEXEC)
	_ = unix.Close(other)
	return os.NewSyscallError("dup3", err)
}

// letOut makes room in a socket for bytes that wait here, and has the kernel take them unsent.
func letOut(fd, bytes int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 1<<30)
	room, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return // the flush will tell
	}
	// The kernel doubles what it is told, for its own use. Without the right to go over the limit of
	// the system it is as much as that.
	if more := room/2 + 2*bytes; unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, more) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, more)
	}
}
