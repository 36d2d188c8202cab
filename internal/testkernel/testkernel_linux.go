// Package testkernel says which tests a kernel can run by the options that it was built with.
package testkernel

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mayMiss are the options that a machine which develops weir may lack, each with where its tests run
// nonetheless.
func mayMiss() map[string]string {
	return map[string]string{
		"CONFIG_TLS": "make test-kernels runs this on kernels that have it",
	}
}

// RequireOption skips the test if the kernel says that it was built without an option, such as
// CONFIG_TLS. One that does not say how it was built is taken to have it.
func RequireOption(tb testing.TB, option string) {
	tb.Helper()
	where, listed := mayMiss()[option]
	if !listed {
		tb.Fatalf("%s is not among the options that may be missing: add it, with where its tests run", option)
	}
	if said, has := built(tb, option); said && !has {
		tb.Skipf("the kernel is built without %s: %s", option, where)
	}
}

// built reports whether the kernel says how it was built, and whether that is with the option.
func built(tb testing.TB, option string) (said, has bool) {
	tb.Helper()
	if f, err := os.Open("/proc/config.gz"); err == nil {
		defer f.Close() //nolint:errcheck // it is only read
		z, err := gzip.NewReader(f)
		if err != nil {
			tb.Fatal(err)
		}
		return true, lists(z, option)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		tb.Fatal(err)
	}
	f, err := os.Open("/boot/config-" + unix.ByteSliceToString(u.Release[:]))
	if err != nil {
		return false, false
	}
	defer f.Close() //nolint:errcheck // it is only read
	return true, lists(f, option)
}

func lists(config io.Reader, option string) bool {
	for s := bufio.NewScanner(config); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), option+"="); ok {
			return v == "y" || v == "m"
		}
	}
	return false
}
