//go:build linux

package queues_test

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/bpf/netlab"
	"weir/bpf/xdp"
	"weir/tuning/queues"

	"golang.org/x/sys/unix"
)

// sendBad sends frames that claim an IPv4 header of 16 bytes, which xdp_weir drops.
func sendBad(from *netlab.Namespace, iface string, n int) error {
	frame := make([]byte, 60)
	copy(frame, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x00, 0x44})
	return from.Do(func() error {
		ifc, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd) //nolint:errcheck // nothing is buffered
		for range n {
			if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifc.Index}); err != nil {
				return err
			}
		}
		return nil
	})
}

// guard attaches xdp_weir to an interface, and returns how many packets it has seen and dropped.
func guard(t *testing.T, in *netlab.Namespace, iface string) func() queues.XDPCounts {
	t.Helper()
	var p *xdp.Program
	err := in.Do(func() (err error) {
		if p, err = xdp.Load(xdp.Config{Interface: iface, Attach: xdp.AttachNative, Slots: 1024}, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
		_, err = p.Attach()
		return errors.Join(err, p.SetMode(xdp.ModeEnforce))
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return func() (x queues.XDPCounts) {
		s, err := p.Stats()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range xdp.Reasons() {
			x.Seen += s.Passed[r].Packets + s.Dropped[r].Packets
			x.Dropped += s.Dropped[r].Packets
		}
		return x
	}
}

func sample(t *testing.T, in *netlab.Namespace, iface string, at time.Time) (s queues.Sample) {
	t.Helper()
	err := in.Do(func() (err error) {
		s, err = queues.Read("", iface, at)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNetnsVethIsReadInItsNamespace(t *testing.T) {
	bpftest.Require(t, "5.12", "native XDP on veth")
	a, b := bpftest.Namespace(t), bpftest.Namespace(t)
	if err := netlab.Pair(netlab.End{In: a, Interface: "qa0"}, netlab.End{In: b, Interface: "qb0"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/sys/class/net/qa0"); !os.IsNotExist(err) {
		t.Errorf("/sys shows the namespace: %v", err)
	}
	if _, err := queues.Read("", "qa0", time.Now()); err == nil {
		t.Error("it is found outside its namespace")
	}
	counts := guard(t, a, "qa0")
	at := time.Now()
	before, earlier := sample(t, a, "qa0", at), counts()
	const n = 1000
	if err := sendBad(b, "qb0", n); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for counts().Dropped < earlier.Dropped+n {
		if time.Now().After(deadline) {
			t.Fatalf("XDP has dropped %d of %d", counts().Dropped-earlier.Dropped, n)
		}
	}
	// A veth's counters follow at the end of a poll.
	var r queues.Rates
	for {
		r = queues.Diff(before, sample(t, a, "qa0", at.Add(time.Second)))
		if len(r.ByXDP) > 0 && r.ByXDP[0].PerSecond >= n || time.Now().After(deadline) {
			break
		}
	}
	if r.Driver != "veth" || r.Restarted || before.Index == 0 || r.Link["rx_packets"] < n {
		t.Errorf("%+v", r)
	}
	if len(r.ByXDP) == 0 || r.ByXDP[0].PerSecond < n || len(r.Before) != 0 {
		t.Errorf("lost before XDP %+v, by it %+v", r.Before, r.ByXDP)
	}
	if len(r.CPUs) == 0 || len(r.Missing) != 0 {
		t.Errorf("CPUs %+v, missing %q", r.CPUs, r.Missing)
	}
	now := counts()
	f := queues.Verdict(r, queues.XDPCounts{Seen: now.Seen - earlier.Seen, Dropped: now.Dropped - earlier.Dropped})
	if f.State != queues.XDPAbsorbs {
		t.Errorf("%+v", f)
	}
	t.Log(f.Text)
}

func TestKernelReadsTheLoopbackWithoutPrivileges(t *testing.T) {
	s, err := queues.Read("", "lo", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if s.Index != 1 || len(s.Link) != 8 || len(s.CPUs) == 0 {
		t.Errorf("%+v", s)
	}
	if _, err := queues.Read("", "none0", time.Now()); !errors.Is(err, unix.ENODEV) {
		t.Errorf("an interface that is not there: %v", err)
	}
}
