package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DefaultInterval is between two signs of life, where the manager does not say how long it waits for one: a process that has
// taken over is not told. A manager that waits for less than twice this restarts such a process.
const DefaultInterval = 5 * time.Second

// Service is the way to the manager. Its methods may be called from any goroutine, of nil too.
type Service struct {
	interval time.Duration

	mu    sync.Mutex
	conn  *net.UnixConn
	ended bool // another process speaks for the service
}

// Open is the way that the environment names, as "KEY=value" each: NOTIFY_SOCKET, and WATCHDOG_USEC unless WATCHDOG_PID is
// another process than pid. Without NOTIFY_SOCKET it is nil. The error says which variable is wrong.
func Open(environ []string, pid int) (*Service, error) {
	path := lookup(environ, "NOTIFY_SOCKET")
	if path == "" {
		return nil, nil //nolint:nilnil // a nil Service is one
	}
	if path[0] != '/' && path[0] != '@' { // net takes @ for an abstract name
		return nil, fmt.Errorf("NOTIFY_SOCKET is %q: want the path of a socket, or an abstract one's name after @", path)
	}
	s := &Service{interval: DefaultInterval}
	if usec := lookup(environ, "WATCHDOG_USEC"); usec != "" && isOurs(lookup(environ, "WATCHDOG_PID"), pid) {
		n, err := strconv.ParseInt(usec, 10, 64)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("WATCHDOG_USEC is %q: want microseconds, above 0", usec)
		}
		s.interval = time.Duration(n) * time.Microsecond / 2
	}
	var err error
	if s.conn, err = net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		return nil, fmt.Errorf("reach the service manager at NOTIFY_SOCKET: %w", err)
	}
	return s, nil
}

func isOurs(said string, pid int) bool { return said == "" || said == strconv.Itoa(pid) }

// lookup is the last value of a variable, as os/exec has it.
func lookup(environ []string, name string) (value string) {
	for _, kv := range environ {
		if v, found := strings.CutPrefix(kv, name+"="); found {
			value = v
		}
	}
	return value
}

// Close ends it. Idempotent.
func (s *Service) Close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	_ = s.conn.Close()
}

// Ready says that it serves, also after [Service.Reloading], with what people read in the manager's state: a line.
func (s *Service) Ready(status string) error { return s.send("READY=1", "STATUS="+line(status)) }

// Status is what people read in the manager's state: a line.
func (s *Service) Status(status string) error { return s.send("STATUS=" + line(status)) }

// Stopping says that it begins to end.
func (s *Service) Stopping(status string) error { return s.send("STOPPING=1", "STATUS="+line(status)) }

// Reloading says that it reads its configuration again; Ready says that it has.
func (s *Service) Reloading() error {
	if s == nil {
		return nil
	}
	usec, err := monotonicUsec()
	if err != nil {
		return fmt.Errorf("read the monotonic clock: %w", err)
	}
	return s.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(usec, 10))
}

// HandOver says that another process is the service from now on, and waits until the manager has taken note of it or ctx ends:
// a process that ended before would take the service with it. Afterwards nothing is sent.
func (s *Service) HandOver(ctx context.Context, pid int, status string) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	s.ended = true
	if err := s.write("MAINPID="+strconv.Itoa(pid), "READY=1", "STATUS="+line(status)); err != nil {
		return err
	}
	return s.barrier(ctx)
}

// Watch shows signs of life until ctx ends, while alive returns nil: it has the time until the next sign. silent is called with
// the error of each that is left out.
func (s *Service) Watch(ctx context.Context, alive func(context.Context) error, silent func(error)) {
	if s == nil {
		return
	}
	t := time.NewTicker(s.interval)
	defer t.Stop()
	for {
		within, cancel := context.WithTimeout(ctx, s.interval)
		err := alive(within)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = s.send("WATCHDOG=1")
		}
		if err != nil {
			silent(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// line is text as the protocol can carry it: an assignment ends with its line.
func line(text string) string { return strings.Join(strings.Fields(text), " ") }

func (s *Service) send(assignments ...string) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	return s.write(assignments...)
}

// write sends one datagram. s.mu is held.
func (s *Service) write(assignments ...string) error {
	_, err := s.conn.Write([]byte(strings.Join(assignments, "\n") + "\n"))
	if err != nil {
		return fmt.Errorf("tell the service manager %s: %w", assignments[0], err)
	}
	return nil
}

var errNoBarrier = errors.New("the service manager did not answer")
