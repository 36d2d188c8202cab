package floor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"unsafe"

	"weir/edge/ws"

	"golang.org/x/sys/unix"
)

// Bounds of the server.
const (
	maxLineBytes = 64 << 10
	maxEvents    = 512
	backlog      = 65535 // the kernel cuts it to net.core.somaxconn
)

// server is the C program once more.
type server struct {
	epoll, listener, in int
	response            []byte
	conns               []int32 // descriptors of those answered, without holes
	place               []int32 // of a descriptor in conns, from 1 on; 0: not answered
	lines               []byte
	frame               []byte
}

// Run serves at an IPv4 address with messages from in, until in ends. Each conn's first bytes are
// answered with response.
func Run(at netip.AddrPort, response string, in *os.File, out io.Writer) error {
	// The thread is never unlocked: it ends with the goroutine, and its affinity with it.
	runtime.LockOSThread()
	if err := pin(); err != nil {
		return err
	}
	s := &server{response: []byte(response), in: int(in.Fd()), lines: make([]byte, 0, maxLineBytes)} //nolint:gosec // descriptors are small
	if err := s.listen(at); err != nil {
		return err
	}
	if _, err := io.WriteString(out, "ready\n"); err != nil {
		return fmt.Errorf("say that the floor is ready: %w", err)
	}
	var events [maxEvents]unix.EpollEvent
	for {
		n, err := unix.EpollWait(s.epoll, events[:], -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for sockets: %w", err)
		}
		for _, ev := range events[:max(n, 0)] {
			if more, err := s.serve(int(ev.Fd)); err != nil || !more {
				return err
			}
		}
	}
}

// pin keeps the thread on the CPU where it is.
func pin() error {
	var cpu uint32
	if _, _, err := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); err != 0 { //nolint:gosec // getcpu(2) writes one unsigned int
		return fmt.Errorf("find the CPU: %w", err)
	}
	var set unix.CPUSet
	set.Set(int(cpu))
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin the thread to CPU %d: %w", cpu, err)
	}
	return nil
}

func (s *server) listen(at netip.AddrPort) (err error) {
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("make an epoll: %w", err)
	}
	if s.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("listen on %v: %w", at, err)
	}
	err = errors.Join(
		unix.SetsockoptInt(s.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(s.listener, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}),
		unix.Listen(s.listener, backlog),
		s.watch(s.listener),
		s.watch(s.in),
	)
	if err != nil {
		return fmt.Errorf("listen on %v: %w", at, err)
	}
	return nil
}

func (s *server) watch(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)} //nolint:gosec // descriptors are small
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &ev)
}

// serve does what a descriptor is ready for, and reports whether the input goes on.
func (s *server) serve(fd int) (more bool, err error) {
	switch fd {
	case s.listener:
		return true, s.accept()
	case s.in:
		return s.takeLines()
	default:
		s.hear(fd)
		return true, nil
	}
}

func (s *server) accept() error {
	for {
		fd, _, err := unix.Accept4(s.listener, unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			continue
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		}
		for len(s.place) <= fd {
			s.place = append(s.place, 0)
		}
		if err := s.watch(fd); err != nil {
			return fmt.Errorf("accept: %w", err)
		}
	}
}

// hear answers a conn's first bytes, and drops what else it says.
func (s *server) hear(fd int) {
	var buf [4096]byte
	n, _, err := unix.Recvfrom(fd, buf[:], unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	if err == nil && n > 0 && s.place[fd] != 0 {
		return
	}
	if err == nil && n > 0 {
		_, err = unix.Write(fd, s.response)
	}
	if err != nil || n == 0 {
		s.end(fd)
		return
	}
	s.conns = append(s.conns, int32(fd)) //nolint:gosec // descriptors are small
	s.place[fd] = int32(len(s.conns))    //nolint:gosec // no more than descriptors
}

func (s *server) end(fd int) {
	if at := s.place[fd]; at != 0 {
		last := len(s.conns) - 1
		s.conns[at-1] = s.conns[last]
		s.place[s.conns[at-1]] = at
		s.conns = s.conns[:last]
		s.place[fd] = 0
	}
	_ = unix.Close(fd)
}

func (s *server) takeLines() (more bool, err error) {
	n, err := unix.Read(s.in, s.lines[len(s.lines):cap(s.lines)])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return true, nil
	}
	if err != nil || n == 0 {
		return false, nil //nolint:nilerr // its starter is gone
	}
	s.lines = s.lines[:len(s.lines)+n]
	rest := s.lines
	for {
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		if !whole {
			break
		}
		s.publish(line)
		rest = after
	}
	if len(rest) == maxLineBytes {
		return false, fmt.Errorf("a message has %d bytes or more", maxLineBytes)
	}
	s.lines = s.lines[:copy(s.lines[:cap(s.lines)], rest)]
	return true, nil
}

// publish writes a frame to all. The sockets block, so that one write is the whole frame; one that
// fails is that of a conn about to be ended.
func (s *server) publish(payload []byte) {
	s.frame = ws.AppendFrame(s.frame[:0], ws.OpText, payload)
	for _, fd := range s.conns {
		_, _ = unix.Write(int(fd), s.frame)
	}
}
