package admit_test

import (
	"fmt"
	"net/netip"

	"weir/edge/admit"
)

func Example() {
	gate, err := admit.New(admit.Config{PrefixIPv6: 56, MaxConnsPerPrefix: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	phone, laptop := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:0:42::1")
	verdict, _ := gate.Admit(phone, 0)
	fmt.Println(verdict == admit.Admitted)
	verdict, _ = gate.Admit(laptop, 0)
	fmt.Println(verdict == admit.OverConns)
	gate.Release(phone)
	verdict, _ = gate.Admit(laptop, 0)
	fmt.Println(verdict == admit.Admitted)
	// Output:
	// true
	// true
	// true
}
