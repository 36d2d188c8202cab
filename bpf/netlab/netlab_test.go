//go:build linux

package netlab_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/bpf/netlab"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const feature = "network namespaces"

func interfaces(t *testing.T) (names []string) {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

func TestNetnsHostsJoinedByACableReachEachOther(t *testing.T) {
	bpftest.Require(t, "5.12", feature)
	before := interfaces(t)
	a, b := bpftest.Namespace(t), bpftest.Namespace(t)
	err := netlab.Pair(
		netlab.End{In: a, Interface: "a0", Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.0.1/24"), netip.MustParsePrefix("2001:db8::1/64")}},
		netlab.End{In: b, Interface: "b0", Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/24"), netip.MustParsePrefix("2001:db8::2/64")}},
	)
	if err != nil {
		t.Fatal(err)
	}
	if mac, err := a.MAC("a0"); err != nil || len(mac) != 6 {
		t.Errorf("a0 is %v, %v", mac, err)
	}
	if _, err := a.MAC("b0"); err == nil {
		t.Error("b0 is in a")
	}
	for _, addr := range []string{"198.18.0.1:0", "[2001:db8::1]:0"} {
		var l net.Listener
		err := a.Do(func() (err error) {
			l, err = net.Listen("tcp", addr)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		conn, err := b.DialContext(ctx, "tcp", l.Addr().String())
		cancel()
		if err != nil {
			t.Errorf("%s: %v", addr, err)
		} else {
			_ = conn.Close()
		}
		_ = l.Close()
	}
	if after := interfaces(t); !slices.Equal(before, after) {
		t.Errorf("interfaces here were %v, are %v", before, after)
	}
}

func TestNetnsOnlyDoIsInside(t *testing.T) {
	bpftest.Require(t, "5.12", feature)
	n := bpftest.Namespace(t)
	for range 50 { // whichever thread it is on
		if in, err := netlab.Isolated(); in || err != nil {
			t.Fatalf("outside: %v, %v", in, err)
		}
		err := n.Do(func() error {
			if in, err := netlab.Isolated(); !in || err != nil {
				t.Errorf("inside: %v, %v", in, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNetnsErrorOfTheFunctionIsReturned(t *testing.T) {
	bpftest.Require(t, "5.12", feature)
	n := bpftest.Namespace(t)
	if err := n.Do(func() error { return os.ErrExist }); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	if err := n.Do(func() error { runtime.Goexit(); return nil }); err == nil || !strings.Contains(err.Error(), "Goexit") {
		t.Errorf("a function that ends its goroutine: %v", err)
	}
}

func TestNetnsNameIsTakenOnce(t *testing.T) {
	bpftest.Require(t, "5.12", feature)
	n := bpftest.Namespace(t)
	if again, err := netlab.New(n.Name); err == nil || !strings.Contains(err.Error(), n.Name) {
		t.Errorf("%v, %v", again, err)
	}
	for range 2 {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	again, err := netlab.New(n.Name)
	if err != nil {
		t.Fatalf("after close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestNetnsCleanupRemovesWhatAKilledRunLeft(t *testing.T) {
	bpftest.Require(t, "5.12", feature)
	keep, left := bpftest.Namespace(t), bpftest.Namespace(t)
	if err := netlab.Cleanup(left.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/run/netns/" + left.Name); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", left.Name, err)
	}
	if _, err := os.Stat("/run/netns/" + keep.Name); err != nil {
		t.Errorf("%s is gone: %v", keep.Name, err)
	}
	if err := left.Close(); err != nil {
		t.Errorf("close what was removed: %v", err)
	}
}

func TestCleanupOfEverythingIsRefused(t *testing.T) {
	if err := netlab.Cleanup(""); err == nil {
		t.Error("no error")
	}
}
