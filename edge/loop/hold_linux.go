package loop

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Held is a port that this process has without listening there: servers with [Config.SharedPort] of the
// same user may listen, whoever else tries finds it in use.
type Held struct {
	fd   int
	addr *net.TCPAddr
}

// Hold takes an address that a setting names, as "edge.listen" does. It is an error if anybody listens
// there.
func Hold(setting, listen string) (*Held, error) {
	addr, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return nil, notOurs(setting, listen, err)
	}
	h, err := hold(addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, inUse(setting, listen, err)
	}
	if err != nil {
		return nil, notOurs(setting, listen, err)
	}
	return h, nil
}

func hold(addr *net.TCPAddr) (*Held, error) {
	sa, family := sockaddr(addr)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) && len(addr.IP) == 0 {
		return hold(&net.TCPAddr{IP: net.IPv4zero, Port: addr.Port})
	}
	if err != nil {
		return nil, err
	}
	h := &Held{fd: fd}
	if family == unix.AF_INET6 && addr.IP.IsUnspecified() || len(addr.IP) == 0 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0) // bind tells
	}
	// Conns of an edge that was killed must not keep the next one off. Once it is bound nobody may share
	// the port but who asks for that, as ours do.
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(fd, sa)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err == nil {
		h.addr, err = boundTo(fd, addr.Zone)
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// sockaddr is an address for bind(2); one without a host is that of all, of both families.
func sockaddr(a *net.TCPAddr) (unix.Sockaddr, int) {
	if ip := a.IP.To4(); ip != nil {
		return &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(ip)}, unix.AF_INET
	}
	sa := &unix.SockaddrInet6{Port: a.Port}
	copy(sa.Addr[:], a.IP)
	if i, err := net.InterfaceByName(a.Zone); err == nil {
		sa.ZoneId = uint32(i.Index) //nolint:gosec // small
	}
	return sa, unix.AF_INET6
}

func boundTo(fd int, zone string) (*net.TCPAddr, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}, nil
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port, Zone: zone}, nil
	}
	return nil, unix.EAFNOSUPPORT
}

// Addr is the address, with the port that was found for 0.
func (h *Held) Addr() *net.TCPAddr { return h.addr }

// Close gives it up.
func (h *Held) Close() { _ = unix.Close(h.fd) }
