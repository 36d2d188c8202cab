package queues

import (
	"errors"
	"testing"

	"weir/bpf/bpftest"
	"weir/bpf/netlab"

	"golang.org/x/sys/unix"
)

// TestNetnsNumberOfCountersThatChanged asks for one counter more and one less than there are, as
// when a queue comes or goes between the questions.
func TestNetnsNumberOfCountersThatChanged(t *testing.T) {
	bpftest.Require(t, "5.12", "network namespaces")
	a, b := bpftest.Namespace(t), bpftest.Namespace(t)
	if err := netlab.Pair(netlab.End{In: a, Interface: "qa0"}, netlab.End{In: b, Interface: "qb0"}); err != nil {
		t.Fatal(err)
	}
	err := a.Do(func() error {
		driver, all, err := driverOf("qa0")
		if err != nil || driver != "veth" || len(all) < 2 {
			t.Errorf("%q, %v, %v", driver, all, err)
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd) //nolint:errcheck // nothing was written
		buf, err := unix.Mmap(-1, 0, room, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		defer unix.Munmap(buf) //nolint:errcheck // it was mapped
		for _, n := range []int{len(all) - 1, len(all) + 1} {
			if got, err := statistics(fd, "qa0", buf, uint32(n)); !errors.Is(err, errChanging) {
				t.Errorf("%d of %d counters: %v, %v", n, len(all), got, err)
			}
		}
		if got, err := statistics(fd, "qa0", buf, 1<<20); err == nil {
			t.Errorf("a million counters: %v", got)
		}
		if got, err := statistics(fd, "none0", buf, 1); !errors.Is(err, unix.ENODEV) {
			t.Errorf("no interface: %v, %v", got, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
