package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// dialTimeout bounds how long a process is waited for that is there.
const dialTimeout = 5 * time.Second

// Listener waits for the process that is to go on.
type Listener struct {
	ln   *net.UnixListener
	path string
	ino  uint64
	once sync.Once
}

// Listen serves the socket at path, whose directory is made if it is not there. A file that a dead
// process left is replaced; one that is served is an error, unless it is to be succeeded: who
// connects from then on comes here.
func Listen(path string, succeed bool) (*Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of edge.takeover %s: %w", path, err)
	}
	if !succeed {
		if p, err := Dial(context.Background(), path); err == nil {
			_ = p.Close()
			return nil, fmt.Errorf("serve edge.takeover %s: another weir serves it: stop that one, take over from it with --takeover, or set another path: %w", path, syscall.EADDRINUSE)
		}
	}
	l, err := listenBeside(path)
	if err != nil {
		return nil, fmt.Errorf("serve edge.takeover %s: %w", path, err)
	}
	return l, nil
}

// listenBeside makes the socket under another name, where nobody finds it before it is served by
// its own user alone, and puts it in its place.
func listenBeside(path string) (*Listener, error) {
	beside := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Remove(beside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: beside, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // by then it has another name, or is another one's
	err = os.Chmod(beside, 0o600)
	l := &Listener{ln: ln, path: path, ino: inode(beside)}
	if err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		_ = ln.Close()
		_ = os.Remove(beside)
		return nil, err
	}
	return l, nil
}

// Accept waits for the next process. net.ErrClosed says that the Listener was closed.
func (l *Listener) Accept() (*Peer, error) {
	conn, err := l.ln.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("accept at edge.takeover %s: %w", l.path, err)
	}
	p, err := newPeer(conn)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("accept at edge.takeover %s: %w", l.path, err)
	}
	return p, nil
}

// Close ends it, and removes the socket unless another process has replaced it. Idempotent.
func (l *Listener) Close() {
	l.once.Do(func() {
		_ = l.ln.Close()
		if l.ino != 0 && inode(l.path) == l.ino {
			_ = os.Remove(l.path)
		}
	})
}

// Leave ends it, and leaves the socket to the process that goes on, which replaces it.
func (l *Listener) Leave() { l.once.Do(func() { _ = l.ln.Close() }) }

func inode(path string) uint64 {
	info, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// Dial connects to the process that serves path; the error wraps [ErrNobody] if there is none.
func Dial(ctx context.Context, path string) (*Peer, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("connect to edge.takeover %s: %w", path, ErrNobody)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to edge.takeover %s: %w", path, err)
	}
	p, err := newPeer(conn.(*net.UnixConn)) //nolint:forcetypeassert // as dialed
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to edge.takeover %s: %w", path, err)
	}
	return p, nil
}
