package loop

import (
	"fmt"
	"math"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DescriptorLimit is the process's limit of open descriptors.
func DescriptorLimit() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 1024
	}
	return int(min(r.Cur, math.MaxInt32)) //nolint:gosec // bounded by the min
}

// limitUnsent sets TCP_NOTSENT_LOWAT (tcp(7)). A socket without it only queues more.
func limitUnsent(fd, bytes int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes)
}

// tcpInfo is a connection's TCP_INFO (tcp(7)).
func tcpInfo(fd int) (TCPInfo, bool) {
	i, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return TCPInfo{}, false
	}
	return TCPInfo{
		UnsentBytes: int(i.Notsent_bytes), UnackedSegments: int(i.Unacked), CongestionWindow: int(i.Snd_cwnd),
		ReceiveWindow: int(i.Snd_wnd), SegmentBytes: int(i.Snd_mss), RTT: time.Duration(i.Rtt) * time.Microsecond,
	}, true
}

// acknowledged is the low half of how many bytes of a connection the client's kernel has acknowledged, and
// whether those are all that ours took.
func acknowledged(fd int) (acked uint32, all, ok bool) {
	i, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, false, false
	}
	return uint32(i.Bytes_acked), i.Unacked == 0 && i.Notsent_bytes == 0, true //nolint:gosec // the low half is what is kept
}

// sendQueue is how many bytes the kernel holds of a connection that are not acknowledged (tcp(7),
// SIOCOUTQ).
func sendQueue(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

// shutdownWrite ends our side of a connection. One that is gone already closes by itself.
func shutdownWrite(fd int) { _ = unix.Shutdown(fd, unix.SHUT_WR) }

// kick lets a loop call itself back after its other sockets had their turn: a byte through a
// socket pair, whose one end is a conn of the loop.
type kick struct {
	fd  int // our end, non-blocking
	end net.Conn
}

func newKick() (*kick, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket pair for an event loop: %w", err)
	}
	f := os.NewFile(uintptr(fds[1]), "kick")
	end, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		_ = unix.Close(fds[0])
		return nil, fmt.Errorf("make a conn of a socket pair: %w", err)
	}
	return &kick{fd: fds[0], end: end}, nil
}

// again makes the loop's end readable. A full buffer does so already.
func (k *kick) again() {
	one := [1]byte{1}
	_, _ = unix.Write(k.fd, one[:])
}

func (k *kick) close() { _ = unix.Close(k.fd) }

// sharePort lets other sockets of the same user listen at a socket's address (socket(7), SO_REUSEPORT).
func sharePort(_, _ string, raw syscall.RawConn) (err error) {
	if e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); e != nil {
		return e
	}
	return err
}
