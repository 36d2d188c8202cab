package netlab_test

import (
	"context"
	"fmt"
	"net/netip"

	"weir/bpf/netlab"
)

// Two hosts on one machine, joined by a cable. It needs root.
func Example() {
	var hosts [2]*netlab.Namespace
	for i, name := range []string{"example-a", "example-b"} {
		n, err := netlab.New(name)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer n.Close() //nolint:errcheck // it ends with the process at the latest
		hosts[i] = n
	}
	err := netlab.Pair(
		netlab.End{In: hosts[0], Interface: "a0", Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.0.1/24")}},
		netlab.End{In: hosts[1], Interface: "b0", Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/24")}},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	conn, err := hosts[1].DialContext(context.Background(), "tcp", "198.18.0.1:8000")
	fmt.Println(conn, err)
}
