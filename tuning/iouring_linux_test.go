package tuning

import (
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestIOUringIsTried(t *testing.T) {
	if n := unsafe.Sizeof(ringParams{}); n != 120 {
		t.Errorf("%d bytes: the kernel's struct has 120", n)
	}
	for _, tt := range []struct {
		err         error
		found, mend string
	}{
		{nil, "available, features 0x3", ""},
		{unix.ENOSYS, "not available", "CONFIG_IO_URING"},
		{unix.EPERM, "not available", "io_uring_disabled"},
		{unix.ENOMEM, "not available", ""},
	} {
		if f := ringFinding(3, tt.err); f.Level != OK || !strings.HasPrefix(f.Found, tt.found) || !strings.Contains(f.Mend, tt.mend) || (tt.err != nil) != (f.Why != "") {
			t.Errorf("%v: %+v", tt.err, f)
		}
	}
	if f := ExamineIOUring(); f.Found == "" {
		t.Errorf("%+v", f)
	}
	features, err := setUpRing()
	if err == nil && features == 0 {
		t.Error("a ring without any feature")
	}
}
