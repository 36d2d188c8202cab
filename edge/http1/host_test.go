package http1

import (
	"net/netip"
	"strings"
	"testing"
)

func TestHostsAreNamesOrAddresses(t *testing.T) {
	for _, good := range []string{"a", "a.example", "A-b_c~d.example:8080", "192.0.2.1:1", "a:65535", "[::]", "[::1]:80", "[2001:db8::1]", "[1:2:3:4:5:6:7:8]", "[::ffff:192.0.2.1]", "[1:2:3:4:5:6:192.0.2.1]:1", "[1::8]", "[1:2:3:4:5:6:7::]"} {
		if !validHost([]byte(good)) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"", ":", ":80", "a:", "a:b", "a:1:2", "a:100000", "a b", "a/b", "a@b", "a,b", "a%2e", "a\x00", "\xe4", "[", "[]", "[a]", "[::1", "[::1]x", "[::1]:", "[::1]:x", "::1", "a[::1]",
		"[1:2:3:4:5:6:7]", "[1:2:3:4:5:6:7:8:9]", "[1::2::3]", "[:1]", "[1:]", "[::1:]", "[1:2:3:4:5:6:7:8:]", "[1:::2]", "[12345::]", "[1:2:3:4:5:6:7:8::]", "[::1%25eth0]", "[v1.x]", "[::256.0.0.1]", "[::1.2.3]", "[::01.2.3.4]", "[1.2.3.4]", "[::1.2.3.4.5]", "[1:2:3:4:5:6:7:1.2.3.4]",
	} {
		if validHost([]byte(bad)) {
			t.Errorf("%q is taken", bad)
		}
	}
}

// FuzzHost: an address in brackets is one that net/netip reads too, and no other is refused.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"::", "::1", "1:2:3:4:5:6:7:8", "1::8", "::ffff:192.0.2.1", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::2::3", "fe80::1%eth0", "::1.2.3.04", "1:", ":1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		addr, err := netip.ParseAddr(in)
		want := err == nil && addr.Is6() && !strings.Contains(in, "%")
		if got := validHost([]byte("[" + in + "]:80")); got != want {
			t.Fatalf("[%s] is %v, net/netip has %v, %v", in, got, addr, err)
		}
	})
}
