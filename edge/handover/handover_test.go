//go:build linux

package handover

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is both ends of a handover at a path.
func pair(t *testing.T) (giver, taker *Peer) {
	t.Helper()
	ln, err := Listen(filepath.Join(t.TempDir(), "below", "h.sock"), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ln.Close)
	if taker, err = Dial(context.Background(), ln.path); err != nil {
		t.Fatal(err)
	}
	if giver, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Peer{giver, taker} {
		t.Cleanup(func() { _ = p.Close() })
		_ = p.SetDeadline(time.Now().Add(10 * time.Second))
	}
	return giver, taker
}

func TestEachEndKnowsTheOther(t *testing.T) {
	giver, taker := pair(t)
	for _, p := range []*Peer{giver, taker} { // one process has both
		if p.PID() != os.Getpid() {
			t.Errorf("the other end is process %d, want %d", p.PID(), os.Getpid())
		}
	}
}

func TestMessagesCarryPayloadsAndDescriptors(t *testing.T) {
	giver, taker := pair(t)
	const messages = 5
	sent := make(chan error, 1)
	text := strings.Repeat("x", 3<<20) // more than a socket holds
	go func() {
		for i := range messages {
			fds := make([]int, 0, MaxDescriptors)
			for len(fds) < MaxDescriptors {
				fds = append(fds, pipeWith(t, i))
			}
			err := giver.Send(Kind(i), text, fds...)
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
			if err != nil {
				sent <- err
				return
			}
		}
		sent <- giver.Send(99, nil)
	}()
	for i := range messages {
		m, err := taker.Receive()
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := m.Decode(&got); err != nil || got != text || m.Kind != Kind(i) {
			t.Fatalf("message %d: kind %d, %d bytes, %v", i, m.Kind, len(got), err)
		}
		if len(m.Descriptors) != MaxDescriptors {
			t.Fatalf("message %d came with %d descriptors", i, len(m.Descriptors))
		}
		for _, fd := range m.Descriptors {
			var b [1]byte
			if _, err := unix.Read(fd, b[:]); err != nil || b[0] != byte(i) {
				t.Fatalf("descriptor of message %d holds %d, %v", i, b[0], err)
			}
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Fatalf("a descriptor is inherited: %v", err)
			}
		}
		m.Close()
	}
	if m, err := taker.Receive(); err != nil || m.Kind != 99 || m.Descriptors != nil {
		t.Fatalf("the message without anything: %+v, %v", m, err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// pipeWith is the end to read of a pipe that has a byte.
func pipeWith(t *testing.T, b int) int {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Error(err)
	}
	_, _ = unix.Write(fds[1], []byte{byte(b)})
	_ = unix.Close(fds[1])
	return fds[0]
}

func TestOtherEndThatIsGoneIsEOF(t *testing.T) {
	giver, taker := pair(t)
	_ = giver.Close()
	if _, err := taker.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
	if err := taker.Send(1, "x"); err == nil {
		t.Error("sent to nobody")
	}
}

func TestHalfAMessageIsAnError(t *testing.T) {
	giver, taker := pair(t)
	if _, err := giver.conn.Write([]byte{1, 0, 0}); err != nil {
		t.Fatal(err)
	}
	_ = giver.Close()
	if _, err := taker.Receive(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

func TestMessageTooLongIsRefusedBeforeItIsRead(t *testing.T) {
	giver, taker := pair(t)
	if _, err := giver.conn.Write([]byte{1, 0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if _, err := taker.Receive(); !errors.Is(err, ErrTooLong) {
		t.Errorf("received: %v", err)
	}
	if err := giver.Send(1, make([]byte, maxMessageBytes)); !errors.Is(err, ErrTooLong) {
		t.Errorf("sent: %v", err)
	}
}

func TestPayloadOfAnotherTypeIsAnError(t *testing.T) {
	giver, taker := pair(t)
	if err := giver.Send(1, "text"); err != nil {
		t.Fatal(err)
	}
	m, err := taker.Receive()
	if err != nil {
		t.Fatal(err)
	}
	var n struct{ A int }
	if err := m.Decode(&n); err == nil {
		t.Error("a text was decoded as a struct")
	}
}

func TestSocketIsForOneProcessAndItsUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h.sock")
	if _, err := Dial(context.Background(), path); !errors.Is(err, ErrNobody) {
		t.Errorf("dialed what is not there: %v", err)
	}
	first, err := Listen(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Listen(path, false); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second one: %v", err)
	}
	second, err := Listen(path, true)
	if err != nil {
		t.Fatal(err)
	}
	first.Close() // leaves what is not its own any more
	second.Leave()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket is not left to another process: %v", err)
	}
	if second, err = Listen(path, true); err != nil {
		t.Fatal(err)
	}
	p, err := Dial(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Close()
	second.Close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil { // as one that a dead process left
		t.Fatal(err)
	}
	third, err := Listen(path, false)
	if err != nil {
		t.Fatal(err)
	}
	third.Close()
	if _, err := third.Accept(); !errors.Is(err, os.ErrClosed) && err == nil {
		t.Errorf("accepted after its end: %v", err)
	}
}
