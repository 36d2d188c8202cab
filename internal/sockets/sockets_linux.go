package sockets

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// readEvents are those that gnet asks for where nothing waits to be written.
const readEvents = unix.EPOLLIN | unix.EPOLLPRI

// descriptors are those of this process, in ascending order.
func descriptors() ([]int, error) {
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

// PollerOf is the epoll descriptor that watches fd, which waits for no write.
func PollerOf(fd int) (int, error) {
	fds, err := descriptors()
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
func watches(poller, fd int) bool { return modify(poller, fd, readEvents) == nil }

func modify(poller, fd int, events uint32) error {
	return unix.EpollCtl(poller, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Fd: int32(fd), Events: events}) //nolint:gosec // a descriptor
}

// Pause has fd not read, until Resume. writing says that something of it waits to be written. gnet undoes it when it has
// written all that waited.
func Pause(poller, fd int, writing bool) error {
	events := uint32(0)
	if writing {
		events = unix.EPOLLOUT
	}
	return os.NewSyscallError("epoll_ctl", modify(poller, fd, events))
}

// Resume undoes Pause.
func Resume(poller, fd int, writing bool) error {
	events := uint32(readEvents)
	if writing {
		events |= unix.EPOLLOUT
	}
	return os.NewSyscallError("epoll_ctl", modify(poller, fd, events))
}

// Unwatch takes fd out of its poller's sight: nothing of it is read or accepted any more.
func Unwatch(poller, fd int) {
	_ = unix.EpollCtl(poller, unix.EPOLL_CTL_DEL, fd, nil) // one that is not there is what is wanted
}

// Watch undoes Unwatch.
func Watch(poller, fd int) error {
	err := unix.EpollCtl(poller, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Fd: int32(fd), Events: readEvents}) //nolint:gosec // a descriptor
	return os.NewSyscallError("epoll_ctl", err)
}

// ListenersOf are the descriptors of the listening sockets that poller watches.
func ListenersOf(poller int) (listeners []int, err error) {
	fds, err := descriptors()
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

// LocalAddr is a socket's own address, IPv4 where it is mapped; gnet says the listener's.
func LocalAddr(fd int) netip.AddrPort {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)) //nolint:gosec // a port
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)) //nolint:gosec // a port
	}
	return netip.AddrPort{}
}
