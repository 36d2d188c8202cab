package loop

import (
	"errors"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// decline gives the conn to net/http, with what has come.
func (c *client) decline(proxied bool) {
	l := c.l
	b, _ := c.gc.Peek(-1)
	read := append([]byte(nil), b...)
	conn, err := dup(c.gc.Fd())
	if err != nil {
		l.server.log.Warn("a conn cannot be given to net/http", "err", err)
		c.abort()
		return
	}
	c.peer = netip.AddrPort{} // who takes it over releases it
	c.ex = nil
	c.abort()
	l.server.deps.Decline(conn, read, proxied)
}

// dup is the conn of a descriptor, by another one: gnet closes its own.
func dup(fd int) (net.Conn, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(n), "client")
	defer func() { _ = f.Close() }() // FileConn has another one
	return net.FileConn(f)
}

// shutdownWrite ends our side of a conn. One that is gone closes by itself.
func shutdownWrite(fd int) { _ = unix.Shutdown(fd, unix.SHUT_WR) }

// stopListening has the kernel refuse new conns of a listening socket; gnet closes it in its time.
func stopListening(fd int) { _ = unix.Shutdown(fd, unix.SHUT_RD) }

// pair is two conns that are each other's end.
func pair() (a, b net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	conns := [2]net.Conn{}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "anchor")
		c, e := net.FileConn(f)
		_ = f.Close() // FileConn has another one
		conns[i], err = c, errors.Join(err, e)
	}
	return conns[0], conns[1], err
}
