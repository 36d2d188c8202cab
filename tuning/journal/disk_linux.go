package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// OS is the disk of this host.
type OS struct{}

// Read implements [Disk]. What others than root and this user could have written is refused: it says what is written to the host.
func (OS) Read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, noLink(path, err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid //nolint:errcheck,forcetypeassert // Linux
	if owner != 0 && int(owner) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("%s: %w: user %d owns it, mode %v: chown root and chmod go-w, if you know who wrote it", path, ErrForeign, owner, info.Mode().Perm())
	}
	return io.ReadAll(f)
}

// noLink says what the kernel means by ELOOP to one who asked it to follow no link.
func noLink(path string, err error) error {
	if errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%s is a symbolic link, which is not followed", path)
	}
	return err
}

// WriteSynced implements [Disk]. It follows no link, and leaves nothing of a file that was there.
func (OS) WriteSynced(path string, text []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // settings are no secret
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Rename implements [Disk].
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// MakeDir implements [Disk].
func (OS) MakeDir(dir string) error { return os.MkdirAll(dir, 0o755) } //nolint:gosec // as above

// SyncDir implements [Disk].
func (OS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Lock implements [Disk]. The kernel lets go of it when the process ends, however it does.
func (OS) Lock(path string) (func() error, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, noLink(path, err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrBusy
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}
