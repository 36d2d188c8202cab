package loop

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// gnet keeps its epoll descriptors and its listeners to itself. A takeover needs them: it stops a
// loop's listeners without closing them, takes conns out of their loop's sight while they are on
// their way, and has loops accept from listeners that another process made. All of that is done
// to the descriptors, by epoll_ctl(2) and dup3(2): gnet knows its conns and listeners by their
// numbers alone, and its events carry nothing else.

// readEvents are those that gnet asks for where nothing waits to be written.
const readEvents = unix.EPOLLIN | unix.EPOLLPRI

// ownDescriptors are those of this process, in ascending order.
func ownDescriptors() ([]int, error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("list the process's descriptors: %w", err)
	}
	names, err := dir.Readdirnames(-1)
	_ = dir.Close()
	if err != nil {
		return nil, fmt.Errorf("list the process's descriptors: %w", err)
	}
	fds := make([]int, 0, len(names))
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// pollerOf is the epoll descriptor that watches fd, which waits for no write.
func pollerOf(fd int) (int, error) {
	fds, err := ownDescriptors()
	if err != nil {
		return -1, err
	}
	for _, p := range fds {
		name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(p))
		if err == nil && name == "anon_inode:[eventpoll]" && watches(p, fd) {
			return p, nil
		}
	}
	return -1, fmt.Errorf("no poller watches descriptor %d: %w", fd, os.ErrNotExist)
}

// watches reports whether poller watches fd, which waits for no write.
func watches(poller, fd int) bool {
	return unix.EpollCtl(poller, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Fd: int32(fd), Events: readEvents}) == nil //nolint:gosec // a descriptor
}

// unwatch takes fd out of its poller's sight: nothing of it is read or accepted any more.
func unwatch(poller, fd int) {
	_ = unix.EpollCtl(poller, unix.EPOLL_CTL_DEL, fd, nil) // one that is not there is what is wanted
}

// watch undoes unwatch.
func watch(poller, fd int) error {
	err := unix.EpollCtl(poller, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Fd: int32(fd), Events: readEvents}) //nolint:gosec // a descriptor
	return os.NewSyscallError("epoll_ctl", err)
}

// listenersOf are the descriptors of the listening sockets that poller watches.
func listenersOf(poller int) (listeners []int, err error) {
	fds, err := ownDescriptors()
	if err != nil {
		return nil, err
	}
	for _, fd := range fds {
		if accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && accepts == 1 && watches(poller, fd) {
			listeners = append(listeners, fd)
		}
	}
	return listeners, nil
}

// Listeners are the descriptors of the sockets that the loops accept from. They stay the server's, which
// is ready.
func (s *Server) Listeners() (listeners []int, err error) {
	err = s.eachListener(func(_, fd int) { listeners = append(listeners, fd) })
	return listeners, err
}

// eachListener calls f for the listeners that it can find, with the epoll descriptors that watch them.
func (s *Server) eachListener(f func(poller, fd int)) (err error) {
	for _, l := range s.allLoops() {
		fds, e := listenersOf(l.poller)
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
