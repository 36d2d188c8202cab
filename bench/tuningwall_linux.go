package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weir/bench/load"

	"golang.org/x/sys/unix"
)

// run has the lab's edge stand, begins all conns, lets it go on, and waits until each is there or failed. The conns are
// closed at the end.
func (b *backlogBurst) run(ctx context.Context, lab *Lab) (err error) {
	pid := lab.server.Pid()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return fmt.Errorf("have the edge stand: %w", err)
	}
	stands := true
	goOn := func() error {
		stands = false
		return unix.Kill(pid, unix.SIGCONT)
	}
	defer func() {
		if stands {
			err = errors.Join(err, goOn())
		}
	}()
	start := load.Monotonic()
	since := func() time.Duration { return time.Duration(load.Monotonic() - start) }
	epoll, end, err := b.begin(lab)
	if err != nil {
		return err
	}
	defer end()
	connected, begun := 0, since()
	for connected+b.failed < b.conns || stands {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, failed, err := arrivals(epoll, 10*time.Millisecond)
		if err != nil {
			return err
		}
		b.failed += failed
		if connected += n; n > 0 {
			b.last = since()
			continue
		}
		if stands && since() >= begun+wallStall {
			b.waiting, b.stood = connected, since()
			if err := goOn(); err != nil {
				return fmt.Errorf("have the edge go on: %w", err)
			}
		}
		if since() > wallPatience {
			return fmt.Errorf("%d of %d connections, and %d failed, after %v", connected, b.conns, b.failed, wallPatience)
		}
	}
	return nil
}

// begin sends all SYNs from the lab's clients, for arrivals to wait for. end closes the conns.
func (b *backlogBurst) begin(lab *Lab) (epoll int, end func(), err error) {
	if epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return 0, nil, fmt.Errorf("make an epoll: %w", err)
	}
	var open []int
	end = func() {
		for _, fd := range append(open, epoll) {
			_ = unix.Close(fd)
		}
	}
	err = lab.Load.Do(func() (err error) {
		open, err = b.connect(epoll)
		return err
	})
	if err != nil {
		end()
		return 0, nil, err
	}
	return epoll, end, nil
}

// connect returns the conns opened so far with an error.
func (b *backlogBurst) connect(epoll int) (open []int, err error) {
	from := LabAddrs(LabSubscribers, tuningSources)
	to := &unix.SockaddrInet4{Port: int(LabEdge().Port()), Addr: LabEdge().Addr().As4()}
	for i := range b.conns {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return open, fmt.Errorf("open connection %d: %w", i, err)
		}
		open = append(open, fd)
		_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) // the port is chosen by the 4-tuple
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from[i%len(from)].As4()}); err != nil {
			return open, fmt.Errorf("bind connection %d: %w", i, err)
		}
		if err := unix.Connect(fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			return open, fmt.Errorf("begin connection %d: %w", i, err)
		}
		ev := unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLONESHOT, Fd: int32(fd)} //nolint:gosec // descriptors are small
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return open, fmt.Errorf("wait for connection %d: %w", i, err)
		}
	}
	return open, nil
}

// arrivals are the conns that came to be within a time, and those that the kernel gave up as nothing answered.
func arrivals(epoll int, wait time.Duration) (connected, failed int, err error) {
	var events [1024]unix.EpollEvent
	n, err := unix.EpollWait(epoll, events[:], int(wait.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("wait for connections: %w", err)
	}
	for _, ev := range events[:n] {
		code, err := unix.GetsockoptInt(int(ev.Fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch errno := unix.Errno(code); { //nolint:gosec // an errno
		case err != nil:
			return 0, 0, fmt.Errorf("ask a connection for its error: %w", err)
		case errno == unix.ETIMEDOUT || errno == unix.EHOSTUNREACH: // of the neighbor, nothing answered either
			failed++
		case errno != 0:
			return 0, 0, fmt.Errorf("a connection failed: %w", errno)
		default:
			connected++
		}
	}
	return connected, failed, nil
}
