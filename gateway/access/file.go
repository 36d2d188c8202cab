package access

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// File is a log's file, which is written at its end, also when somebody cuts it (logrotate's copytruncate); one that was moved
// away is left by [File.Reopen]. Any goroutine.
type File struct {
	path string
	mu   sync.Mutex
	file *os.File
}

// filePerm lets the group read it: it has addresses of clients.
const filePerm = 0o640

// OpenFile opens a file, or makes it.
func OpenFile(path string) (*File, error) {
	f := &File{path: path}
	return f, f.Reopen()
}

// Reopen opens the file anew, by its path. If that fails the one before is written on.
func (f *File) Reopen() error {
	next, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, filePerm)
	if err != nil {
		return fmt.Errorf("open the access log: set gateway.access_log to a file that weir may write: %w", err)
	}
	f.mu.Lock()
	before := f.file
	f.file = next
	f.mu.Unlock()
	if before != nil {
		_ = before.Close() // what was written is the kernel's
	}
	return nil
}

// Write implements [io.Writer].
func (f *File) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Write(b)
}

// Close implements [io.Closer].
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
