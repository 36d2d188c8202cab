package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait.
const patience = 10 * time.Second

// manager is the other end: a socket, and what came to it.
type manager struct {
	*net.UnixConn
	tb testing.TB
}

func newManager(tb testing.TB, name string) *manager {
	tb.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return &manager{conn, tb}
}

// next is the next datagram's lines, and the descriptors that came with it.
func (m *manager) next() (lines []string, fds []int) {
	m.tb.Helper()
	_ = m.SetReadDeadline(time.Now().Add(patience))
	b, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, o, _, _, err := m.ReadMsgUnix(b, rights)
	if err != nil {
		m.tb.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:o])
	if err != nil {
		m.tb.Fatal(err)
	}
	for i := range messages {
		if fds, err = unix.ParseUnixRights(&messages[i]); err != nil {
			m.tb.Fatal(err)
		}
	}
	return strings.Split(strings.TrimSuffix(string(b[:n]), "\n"), "\n"), fds
}

func (m *manager) want(lines ...string) {
	m.tb.Helper()
	if got, _ := m.next(); !slices.Equal(got, lines) {
		m.tb.Errorf("%q came, want %q", got, lines)
	}
}

func open(tb testing.TB, environ ...string) *Service {
	tb.Helper()
	s, err := Open(environ, 7)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

func TestStatesReachTheManager(t *testing.T) {
	for name, at := range map[string]string{
		"a path":           filepath.Join(t.TempDir(), "notify"),
		"an abstract name": fmt.Sprintf("@weir-notify-test-%d", os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, at)
			s := open(t, "NOTIFY_SOCKET=/nobody", "NOTIFY_SOCKET="+at)
			for _, err := range []error{s.Ready("serves\n2 conns"), s.Reloading(), s.Status("reads"), s.Stopping("drains")} {
				if err != nil {
					t.Fatal(err)
				}
			}
			m.want("READY=1", "STATUS=serves 2 conns")
			before := time.Now()
			lines, _ := m.next()
			var usec int64
			if n, err := fmt.Sscanf(lines[1], "MONOTONIC_USEC=%d", &usec); lines[0] != "RELOADING=1" || n != 1 {
				t.Fatalf("%q: %v", lines, err)
			}
			if now, err := monotonicUsec(); err != nil || usec <= 0 || usec > now {
				t.Errorf("reloading since %d, now is %d: %v, %v", usec, now, err, before)
			}
			m.want("STATUS=reads")
			m.want("STOPPING=1", "STATUS=drains")
			s.Close()
			if err := s.Ready(""); err != nil {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

func TestNobodyManages(t *testing.T) {
	s, err := Open([]string{"WATCHDOG_USEC=x"}, 7)
	if s != nil || err != nil {
		t.Fatalf("%v, %v", s, err)
	}
	s.Watch(t.Context(), func(context.Context) error { t.Error("watched"); return nil }, nil)
	s.Close()
	if err := errors.Join(s.Ready(""), s.Status(""), s.Stopping(""), s.Reloading(), s.HandOver(t.Context(), 1, "")); err != nil {
		t.Error(err)
	}
}

func TestWrongVariablesAreNamed(t *testing.T) {
	at := filepath.Join(t.TempDir(), "notify")
	newManager(t, at)
	for _, tt := range []struct {
		name    string
		environ []string
		want    string
	}{
		{"no path", []string{"NOTIFY_SOCKET=notify"}, `NOTIFY_SOCKET is "notify"`},
		{"nobody there", []string{"NOTIFY_SOCKET=" + at + "x"}, "reach the service manager"},
		{"no number", []string{"NOTIFY_SOCKET=" + at, "WATCHDOG_USEC=3s"}, `WATCHDOG_USEC is "3s"`},
		{"none", []string{"NOTIFY_SOCKET=" + at, "WATCHDOG_USEC=0"}, `WATCHDOG_USEC is "0"`},
	} {
		if _, err := Open(tt.environ, 7); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

func TestIntervalIsHalfOfWhatTheManagerWaits(t *testing.T) {
	at := filepath.Join(t.TempDir(), "notify")
	newManager(t, at)
	for _, tt := range []struct {
		name    string
		environ []string
		want    time.Duration
	}{
		{"not said", nil, DefaultInterval},
		{"said to all", []string{"WATCHDOG_USEC=30000000"}, 15 * time.Second},
		{"said to us", []string{"WATCHDOG_USEC=30000000", "WATCHDOG_PID=7"}, 15 * time.Second},
		{"said to another", []string{"WATCHDOG_USEC=30000000", "WATCHDOG_PID=8"}, DefaultInterval},
	} {
		if s := open(t, append(tt.environ, "NOTIFY_SOCKET="+at)...); s.interval != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, s.interval, tt.want)
		}
	}
}

// TestSignsOfLifeStopWithLife: while alive fails none comes; the next one comes once it does not.
func TestSignsOfLifeStopWithLife(t *testing.T) {
	at := filepath.Join(t.TempDir(), "notify")
	m := newManager(t, at)
	s := open(t, "NOTIFY_SOCKET="+at, "WATCHDOG_USEC=2000")
	ctx, stop := context.WithCancel(t.Context())
	dead := errors.New("a loop does not answer")
	answers := make(chan error)
	silent := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Watch(ctx, func(ctx context.Context) error {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("alive may take forever")
			}
			return <-answers
		}, func(err error) { silent <- err })
	}()
	answers <- nil
	m.want("WATCHDOG=1")
	answers <- dead
	if err := <-silent; !errors.Is(err, dead) {
		t.Error(err)
	}
	_ = m.SetReadDeadline(time.Unix(1, 0))
	if _, err := m.Read(make([]byte, 64)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a sign of life came from the dead: %v", err)
	}
	answers <- nil
	m.want("WATCHDOG=1")
	stop()
	close(answers)
	<-done
}

// TestHandOverWaitsForTheManager: it returns once the manager has closed the descriptor, and the process is silent from then on.
func TestHandOverWaitsForTheManager(t *testing.T) {
	at := filepath.Join(t.TempDir(), "notify")
	m := newManager(t, at)
	s := open(t, "NOTIFY_SOCKET="+at)
	done := make(chan error, 1)
	go func() { done <- s.HandOver(t.Context(), 4711, "taken over") }()
	m.want("MAINPID=4711", "READY=1", "STATUS=taken over")
	lines, fds := m.next()
	if !slices.Equal(lines, []string{"BARRIER=1"}) || len(fds) != 1 {
		t.Fatalf("%q with descriptors %v", lines, fds)
	}
	select {
	case err := <-done:
		t.Errorf("it did not wait: %v", err)
	default:
	}
	_ = unix.Close(fds[0])
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Stopping(""), s.HandOver(t.Context(), 1, "")); err != nil {
		t.Error(err)
	}
	_ = m.SetReadDeadline(time.Unix(1, 0))
	if _, err := m.Read(make([]byte, 64)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a process that has handed over speaks: %v", err)
	}
}

func TestHandOverGivesUpOnAManagerThatIsSilent(t *testing.T) {
	at := filepath.Join(t.TempDir(), "notify")
	newManager(t, at)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := open(t, "NOTIFY_SOCKET="+at).HandOver(ctx, 1, ""); !errors.Is(err, errNoBarrier) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// passOn has n listeners as the manager passes them on, from the descriptor that is returned.
func passOn(t *testing.T, n int) (first int, addrs []string) {
	t.Helper()
	for i := range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		if first == 0 { // a place where as many as that are free
			if first, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 200); err != nil {
				t.Fatal(err)
			}
		} else if err := unix.Dup3(int(f.Fd()), first+i, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, ln.Addr().String())
		_, _ = f.Close(), ln.Close()
	}
	return first, addrs
}

func TestListenersAreFoundByName(t *testing.T) {
	first, addrs := passOn(t, 2)
	found, err := listeners([]string{"LISTEN_PID=7", "LISTEN_FDS=2", "LISTEN_FDNAMES=admin"}, 7, first)
	if err != nil || len(found) != 2 {
		t.Fatalf("%v, %v", found, err)
	}
	for i, name := range []string{"admin", "unknown"} {
		ln := found[name]
		if ln.Addr().String() != addrs[i] {
			t.Errorf("%s is %v, want %s", name, ln.Addr(), addrs[i])
		}
		c, err := net.Dial("tcp", addrs[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ln.Accept(); err != nil {
			t.Error(err)
		}
		_, _ = c.Close(), ln.Close()
	}
}

func TestListenersOfOthersAreLeft(t *testing.T) {
	for _, environ := range [][]string{nil, {"LISTEN_FDS=1"}, {"LISTEN_FDS=1", "LISTEN_PID=8"}} {
		if found, err := Listeners(environ, 7); len(found) > 0 || err != nil {
			t.Errorf("%q: %v, %v", environ, found, err)
		}
	}
}

func TestWrongListenersAreNamed(t *testing.T) {
	first, _ := passOn(t, 2)
	for want, environ := range map[string][]string{
		`LISTEN_FDS is "two"`: {"LISTEN_PID=7", "LISTEN_FDS=two"},
		`called "admin"`:      {"LISTEN_PID=7", "LISTEN_FDS=2", "LISTEN_FDNAMES=admin:admin"},
	} {
		if _, err := listeners(environ, 7, first); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[1]) //nolint:errcheck // the other end is closed by then
	if _, err := listeners([]string{"LISTEN_PID=7", "LISTEN_FDS=1"}, 7, p[0]); err == nil || !strings.Contains(err.Error(), "ListenStream=") {
		t.Errorf("a pipe: %v", err)
	}
}
