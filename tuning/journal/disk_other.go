//go:build !linux

package journal

import (
	"errors"
	"fmt"
)

// OS is the disk of this host, which has to be Linux.
type OS struct{}

var errSystem = fmt.Errorf("%w: run it on Linux", errors.ErrUnsupported)

// Read implements [Disk].
func (OS) Read(string) ([]byte, error) { return nil, errSystem }

// WriteSynced implements [Disk].
func (OS) WriteSynced(string, []byte) error { return errSystem }

// Rename implements [Disk].
func (OS) Rename(string, string) error { return errSystem }

// MakeDir implements [Disk].
func (OS) MakeDir(string) error { return errSystem }

// SyncDir implements [Disk].
func (OS) SyncDir(string) error { return errSystem }

// Lock implements [Disk].
func (OS) Lock(string) (func() error, error) { return nil, errSystem }
