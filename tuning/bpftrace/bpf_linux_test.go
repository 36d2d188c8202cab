package bpftrace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/bpf/netlab"
	"weir/internal/sockets"

	"golang.org/x/sys/unix"
)

// requireBpftrace skips without bpftrace, or fails where it should be there.
func requireBpftrace(t *testing.T) {
	t.Helper()
	bpftest.Require(t, "5.17", "the reason of a drop, for bpftrace")
	if _, err := exec.LookPath("bpftrace"); err != nil {
		if os.Getenv("REQUIRE_BPF") == "1" {
			t.Fatal("no bpftrace: run make deps")
		}
		t.Skip("no bpftrace: run make deps")
	}
}

// gather runs a session, and does work again and again from when its probes are attached.
func gather(t *testing.T, name string, p Params, work func() error) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	var (
		out     strings.Builder
		once    sync.Once
		working sync.WaitGroup
	)
	ended := make(chan struct{})
	p.Duration = time.Second
	err := Run(ctx, name, p, writerFunc(func(line []byte) (int, error) {
		once.Do(func() {
			working.Go(func() {
				for {
					select {
					case <-ended:
						return
					default:
					}
					if err := work(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		})
		return out.Write(line)
	}))
	close(ended)
	working.Wait()
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return out.String()
}

// idle is a millisecond of no work.
func idle() error {
	_, _ = unix.Poll(nil, 1) // a signal may end it early
	return nil
}

// holds checks that output has a line for each expression.
func holds(t *testing.T, out string, wanted ...string) {
	t.Helper()
	seen := map[string]bool{}
	for _, name := range regexp.MustCompile(`(?m)^@[^\[:\n]+(?:\[[^\]\n]*\])?:`).FindAllString(out, -1) {
		if seen[name] {
			t.Errorf("%s is there twice in\n%s", name, out)
		}
		seen[name] = true
	}
	for _, want := range wanted {
		if !regexp.MustCompile(`(?m)^\s*` + want).MatchString(out) {
			t.Errorf("no line %s in\n%s", want, out)
		}
	}
}

// TestBPFBpftraceSessionsAnswer runs each session on a load that has what it asks for.
func TestBPFBpftraceSessionsAnswer(t *testing.T) {
	requireBpftrace(t)
	answers := map[string]func(t *testing.T){
		"accept": answerAccept, "gc": answerGC, "offcpu": answerOffCPU, "retransmit": answerRetransmit,
		"runq": answerRunQueue, "write": answerWrite, "xdpdrop": answerXDPDrop,
	}
	for _, s := range Sessions() {
		if answers[s.Name] == nil {
			t.Errorf("no test of %s", s.Name)
			continue
		}
		t.Run(s.Name, answers[s.Name])
	}
}

// listener is a TCP listener on loopback, closed at the end.
func listener(t *testing.T) (l net.Listener, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it listens on TCP
}

// meet joins a new conn's two ends.
func meet(l net.Listener) (client, server net.Conn, err error) {
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if server, err = l.Accept(); err != nil {
		_ = client.Close()
		return nil, nil, err
	}
	return client, server, nil
}

func answerAccept(t *testing.T) {
	t.Helper()
	l, port := listener(t)
	_, other := listener(t)
	out := gather(t, "accept", Params{PID: os.Getpid()}, func() error {
		client, server, err := meet(l)
		if err != nil {
			return err
		}
		_, _ = client.Close(), server.Close()
		left, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		if client, err = net.Dial("tcp", left.Addr().String()); err != nil {
			return err
		}
		_, _ = client.Close(), left.Close()
		return nil
	})
	holds(t, out, fmt.Sprintf(`@wait_us\[%d\]:`, port), `\[.+\) +\d+ \|@`, fmt.Sprintf(`@worst_us\[%d\]: \d`, port), `@never_accepted\[\d+\]: \d`)
	if strings.Contains(out, fmt.Sprintf("[%d]", other)) {
		t.Errorf("a port that nobody came to is there:\n%s", out)
	}
	out = gather(t, "accept", Params{Port: other}, func() error {
		client, server, err := meet(l)
		if err != nil {
			return err
		}
		_, _ = client.Close(), server.Close()
		return nil
	})
	if strings.Contains(out, "@wait_us") {
		t.Errorf("another port is there:\n%s", out)
	}
}

func answerGC(t *testing.T) {
	t.Helper()
	for name, flags := range map[string]string{"with symbols": "", "without symbols": "-s -w"} {
		t.Run(name, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "collector")
			if out, err := exec.Command("go", "build", "-ldflags", flags, "-o", binary, "./testdata/collector").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			cmd := exec.Command(binary)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			out := gather(t, "gc", Params{PID: cmd.Process.Pid}, idle)
			holds(t, out,
				`@mark_termination_us:`, `@sweep_termination_us:`, `@worst_us: \d`, `@mark_termination: count [1-9]`,
				`@between_ms:`, `@collections: [1-9]`)
			_ = in.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("it did not live through it: %v", err)
			}
		})
	}
}

// loopThatSleeps is an event loop that has nothing to poll for, and blocks in its callback.
func loopThatSleeps(epoll int) error {
	var events [1]unix.EpollEvent
	if _, err := unix.EpollWait(epoll, events[:], 1); err != nil && err != unix.EINTR { //nolint:errorlint // an errno as it comes
		return fmt.Errorf("epoll_wait: %w", err)
	}
	if _, err := unix.Poll(nil, 1); err != nil && err != unix.EINTR { //nolint:errorlint // an errno as it comes
		return fmt.Errorf("poll: %w", err)
	}
	return nil
}

func answerOffCPU(t *testing.T) {
	t.Helper()
	_, _ = listener(t) // Go has a poller of its own then
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(epoll) //nolint:errcheck // nothing is in it
	out := gather(t, "offcpu", Params{PID: os.Getpid()}, func() error { return loopThatSleeps(epoll) })
	holds(t, out, `@polling_us:`, `@blocked_us:`, `@blocked: count [1-9]`, `weir/tuning/bpftrace\.loopThatSleeps\+\d+$`)
}

func answerRetransmit(t *testing.T) {
	t.Helper()
	server, client := bpftest.Namespace(t), bpftest.Namespace(t)
	err := netlab.Pair(
		netlab.End{In: server, Interface: "a0", Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.0.1/24")}},
		netlab.End{In: client, Interface: "b0", Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/24")}},
	)
	if err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	if err := server.Do(func() (err error) { l, err = net.Listen("tcp", "198.18.0.1:0"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it is no longer needed
	far, err := client.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close() //nolint:errcheck // it is no longer needed
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close() //nolint:errcheck // it is no longer needed
	err = client.Do(func() error {
		cmd := exec.Command("nft", "add table inet t; add chain inet t c { type filter hook input priority 0; policy drop; }")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it listens on TCP
	var once sync.Once
	out := gather(t, "retransmit", Params{Port: port}, func() (err error) {
		once.Do(func() { _, err = near.Write([]byte("lost")) })
		return errors.Join(err, idle())
	})
	holds(t, out, fmt.Sprintf(`@established\[%d\]: [1-9]`, port), fmt.Sprintf(`@conns\[%d\]: 1$`, port), `@to\[198\.18\.0\.2\]: [1-9]`)
}

func answerRunQueue(t *testing.T) {
	t.Helper()
	ended := make(chan struct{})
	defer close(ended)
	for range 2 * runtime.NumCPU() { // more than there are CPUs, in the one thread each that they are locked to
		go func() {
			runtime.LockOSThread()
			for {
				select {
				case <-ended:
					return
				default:
					_ = idle()
				}
			}
		}()
	}
	out := gather(t, "runq", Params{PID: os.Getpid()}, idle)
	holds(t, out, `@woken_us:`, `@worst_us: \d`)
}

func answerWrite(t *testing.T) {
	t.Helper()
	l, _ := listener(t)
	reads, writes, err := meet(l)
	if err != nil {
		t.Fatal(err)
	}
	defer reads.Close() //nolint:errcheck // it is no longer needed
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(io.Discard, reads) })
	defer reading.Wait()
	defer writes.Close() //nolint:errcheck // it ends the reader
	stalled, full, err := meet(l)
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close() //nolint:errcheck // it is no longer needed
	defer full.Close()    //nolint:errcheck // it is no longer needed
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // it is no longer needed
	message, answer := make([]byte, 200), make([]byte, 3000)
	out := gather(t, "write", Params{PID: os.Getpid()}, func() error {
		for _, w := range []io.Writer{writes, file} {
			if _, err := w.Write(message); err != nil {
				return err
			}
		}
		if err := sentRaw(writes, answer); err != nil {
			return err
		}
		_ = full.SetWriteDeadline(time.Now().Add(time.Millisecond))
		_, _ = full.Write(make([]byte, 1<<20)) // once it is full that takes too long, and is not taken
		return nil
	})
	holds(t, out, `@socket_bytes:`, `@socket_us:`, `@file_bytes:`, `\[128, 256\) +[1-9]\d* \|`, `\[2K, 4K\) +[1-9]\d* \|`,
		`@socket_calls: count [1-9]`, `@socket_partial: [1-9]`, `@full: [1-9]`)
}

// sentRaw writes as the gateway's event loops do, by a system call that Go's runtime does not know of.
func sentRaw(conn net.Conn, b []byte) error {
	raw, err := conn.(*net.TCPConn).SyscallConn() //nolint:forcetypeassert // it is TCP
	if err != nil {
		return err
	}
	return raw.Write(func(fd uintptr) bool {
		b = b[sockets.Send(int(fd), b):] //nolint:gosec // a descriptor
		return len(b) == 0
	})
}

// TestBPFBpftraceSessionSaysThatItsProcessHasEnded is of one that ends while it is looked at.
func TestBPFBpftraceSessionSaysThatItsProcessHasEnded(t *testing.T) {
	requireBpftrace(t)
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var once sync.Once
	err := Run(t.Context(), "write", Params{PID: cmd.Process.Pid, Duration: 10 * time.Minute}, writerFunc(func(line []byte) (int, error) {
		once.Do(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		})
		return out.Write(line)
	}))
	if want := fmt.Sprintf("process %d has ended: the above is of the ", cmd.Process.Pid); err != nil || !strings.Contains(out.String(), want) {
		t.Errorf("%v: %q, want %q", err, &out, want)
	}
}

func answerXDPDrop(t *testing.T) {
	t.Helper()
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := nobody.LocalAddr().String()
	_ = nobody.Close()
	out := gather(t, "xdpdrop", Params{}, func() error {
		conn, err := net.Dial("udp", port)
		if err != nil {
			return err
		}
		_, err = conn.Write([]byte("nobody is there"))
		_ = conn.Close()
		return err
	})
	holds(t, out, `@dropped\[NO_SOCKET, \w+\]: [1-9]`)
}
