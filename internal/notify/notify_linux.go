package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// monotonicUsec is the clock that the manager compares RELOADING with.
func monotonicUsec() (int64, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, err
	}
	return now.Nano() / 1000, nil
}

// barrier waits until the manager has read all that was sent: it closes the descriptor that comes with BARRIER=1
// (sd_notify_barrier(3)). s.mu is held.
func (s *Service) barrier(ctx context.Context) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // it carries no data
	err = errors.Join(s.writeWith("BARRIER=1\n", w), w.Close())
	if err != nil {
		return fmt.Errorf("tell the service manager BARRIER=1: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = r.Close() })
	defer stop()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return errors.Join(errNoBarrier, ctx.Err())
	}
	return nil
}

// writeWith sends one datagram with a descriptor. s.mu is held.
func (s *Service) writeWith(message string, f *os.File) error {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool { // net writes descriptors to sockets that are not connected alone
		sendErr = unix.Sendmsg(int(fd), []byte(message), unix.UnixRights(int(f.Fd())), nil, unix.MSG_NOSIGNAL) //nolint:gosec // descriptors
		return !errors.Is(sendErr, unix.EAGAIN)
	})
	return errors.Join(err, sendErr)
}
