package redis

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a Redis of the test's own.
type server struct {
	t       testing.TB
	address string
	cmd     *exec.Cmd
}

// startRedis skips without a redis-server where none has to be.
func startRedis(tb testing.TB, address string, args ...string) *server {
	tb.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("REQUIRE_BPF") == "1" {
			tb.Fatal("no redis-server: make deps installs it")
		}
		tb.Skip("no redis-server: make deps installs it")
	}
	if address == "" {
		address = freeAddress(tb)
	}
	_, port, _ := strings.Cut(address, ":")
	s := &server{t: tb, address: address}
	s.cmd = exec.Command(path, append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", tb.TempDir()}, args...)...)
	if err := s.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.kill)
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(5 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return s
		}
		if time.Now().After(deadline) {
			tb.Fatalf("redis-server does not listen: %v", err)
		}
	}
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it is free then
	return l.Addr().String()
}

// hangsUp is the reply of an impostor that closes the connection instead.
const hangsUp = "hang up"

// impostor answers every command but those that open a connection with one reply, or with none.
type impostor struct {
	address string
	mu      sync.Mutex
	asked   int
}

func startImpostor(tb testing.TB, reply string) *impostor {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	im := &impostor{address: l.Addr().String()}
	var wg sync.WaitGroup
	var conns sync.Map
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Store(c, nil)
			wg.Go(func() { im.serve(c, reply) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		conns.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true }) //nolint:forcetypeassert // as stored
		wg.Wait()
	})
	return im
}

func (im *impostor) serve(c net.Conn, reply string) {
	r := bufio.NewReader(c)
	for {
		words, err := readCommand(r)
		if err != nil {
			return
		}
		answer := "+OK\r\n"
		switch strings.ToUpper(words[0]) {
		case "HELLO":
			answer = "%1\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n"
		case "EVALSHA", "EVAL":
			im.mu.Lock()
			im.asked++
			im.mu.Unlock()
			if reply == hangsUp {
				_ = c.Close()
				return
			}
			answer = reply
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

func readCommand(r *bufio.Reader) (words []string, err error) {
	number := func() (n int) {
		line, e := r.ReadString('\n')
		if e == nil {
			_, e = fmt.Sscanf(line[1:], "%d", &n)
		}
		if e != nil {
			err = e
		}
		return n
	}
	for n := number(); n > 0 && err == nil; n-- {
		b := make([]byte, number()+2)
		if err == nil {
			_, err = io.ReadFull(r, b)
		}
		if err == nil {
			words = append(words, string(b[:len(b)-2]))
		}
	}
	if err == nil && len(words) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return words, err
}
