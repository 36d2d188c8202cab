package loop

import (
	"testing"
	"unsafe"
)

// TestConnFitsItsSizeClass holds for a million of them: the next class is an eighth larger.
func TestConnFitsItsSizeClass(t *testing.T) {
	const class = 128
	if n := unsafe.Sizeof(conn{}); n > class {
		t.Errorf("a conn has %d bytes, and takes 144 of memory: want %d at most", n, class)
	}
}
