package xdp_test

import (
	"fmt"
	"log/slog"
	"net/netip"

	"weir/bpf/xdp"
)

// The program is loaded, told its policy, and attached last. It needs root.
func Example() {
	prog, err := xdp.Load(xdp.Config{Interface: "lo"}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer prog.Close() //nolint:errcheck // the program goes with the process at the latest
	const perSecond, burst = 1000, 50
	interval := uint64(16e9) / perSecond
	quota := xdp.Quota{Interval: interval, Limit: burst * interval}
	if err := prog.Replace(xdp.Policy{
		Classes: []xdp.Class{{Client: xdp.Level{Packets: quota}, UnprovedPackets: quota}},
		Entries: []xdp.Entry{{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Allow: true}},
	}); err != nil {
		fmt.Println(err)
		return
	}
	if err := prog.SetMode(xdp.ModeShadow); err != nil {
		fmt.Println(err)
		return
	}
	how, err := prog.Attach()
	fmt.Println(how, err)
}

// What is wrong with a configuration is said at once, before anything touches the kernel.
func ExampleSpec() {
	_, err := xdp.Spec(xdp.Config{Interface: "eth0", Slots: 1000}, xdp.Features{}, [2]uint64{})
	fmt.Println(err)
	// Output:
	// configure XDP: xdp.Slots is 1000: want a power of two, 16 to 16777216
}
