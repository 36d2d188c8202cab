//go:build linux

package handover

import (
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAPairIsInheritedByItsDescriptor(t *testing.T) {
	ours, file, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close() //nolint:errcheck // a test's
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	theirs, err := Inherited(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Send(7, "text", pipeWith(t, 1)); err != nil {
		t.Fatal(err)
	}
	m, err := ours.Receive()
	if err != nil || m.Kind != 7 || len(m.Descriptors) != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	m.Close()
	_ = theirs.Close()
	if _, err := ours.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("the end is %v", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	fd, err = unix.Dup(int(null.Fd()))
	_ = null.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Inherited(fd); err == nil {
		t.Error("a file is taken for a socket")
	}
}
