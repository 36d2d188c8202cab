package genl_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"weir/tuning/genl"
	"weir/tuning/genl/genltest"

	"github.com/mdlayher/genetlink"
	mdlayher "github.com/mdlayher/genetlink/genltest"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func TestAFamilyIsAskedAndAnswers(t *testing.T) {
	f := genltest.Family(t, "weir", func(m genetlink.Message, req netlink.Message) ([]genetlink.Message, error) {
		if m.Header.Version != 1 || req.Header.Type != 20 {
			t.Errorf("version %d, family %d", m.Header.Version, req.Header.Type)
		}
		switch {
		case m.Header.Command == 7 && req.Header.Flags&netlink.Acknowledge == 0:
			return []genetlink.Message{{Data: m.Data}, genltest.Message(t, func(ae *netlink.AttributeEncoder) { ae.Uint32(2, 43) })}, nil
		case m.Header.Command == 8 && req.Header.Flags&netlink.Acknowledge != 0:
			return nil, genltest.Error(0)
		}
		return nil, genltest.Error(unix.EOPNOTSUPP)
	})
	if err := f.Require("99.0"); err != nil || !f.Known() {
		t.Errorf("known %v, %v", f.Known(), err)
	}
	answer, err := f.Execute(7, netlink.Request, func(ae *netlink.AttributeEncoder) { ae.Uint32(1, 42) })
	if err != nil || len(answer) != 2 {
		t.Fatalf("%v, %v", answer, err)
	}
	for i, m := range answer {
		ad, err := netlink.NewAttributeDecoder(m.Data)
		if err != nil || !ad.Next() || int(ad.Type()) != 1+i || int(ad.Uint32()) != 42+i {
			t.Errorf("answer %d: %x, %v", i, m.Data, err)
		}
	}
	none := func(*netlink.AttributeEncoder) {}
	if answer, err := f.Execute(8, netlink.Request|netlink.Acknowledge, none); err != nil || len(answer) > 1 {
		t.Errorf("%v, %v", answer, err)
	}
	if _, err := f.Execute(9, netlink.Request, none); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("a command that it does not have: %v", err)
	}
	wrong := errors.New("wrong")
	_, err = f.Execute(7, netlink.Request, func(ae *netlink.AttributeEncoder) { ae.Do(1, func() ([]byte, error) { return nil, wrong }) })
	if !errors.Is(err, wrong) {
		t.Errorf("attributes that cannot be encoded: %v", err)
	}
}

func TestAnOlderKernelDoesNotHaveTheFamily(t *testing.T) {
	f := genltest.Older(t, "weir")
	err := f.Require("5.6")
	if f.Known() || !errors.Is(err, errors.ErrUnsupported) || err.Error() != "unsupported operation: Linux 5.6 or newer is needed" {
		t.Errorf("known %v, %v", f.Known(), err)
	}
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Error(err)
	}
}

// TestAKernelThatDoesNotSay is neither older nor newer: it refuses to look.
func TestAKernelThatDoesNotSay(t *testing.T) {
	conn := mdlayher.Dial(func(genetlink.Message, netlink.Message) ([]genetlink.Message, error) {
		return nil, genltest.Error(unix.EPERM)
	})
	f, err := genl.Find(conn, "weir")
	if f != nil || !errors.Is(err, unix.EPERM) || !strings.HasPrefix(err.Error(), "find the kernel's weir family: ") {
		t.Errorf("%v, %v", f, err)
	}
}

// TestKernelIsAsked opens the controller, which is the family that every kernel has, and one that none does.
func TestKernelIsAsked(t *testing.T) {
	f, err := genl.Open("nlctrl")
	if err != nil || !f.Known() {
		t.Fatalf("%+v, %v", f, err)
	}
	before := descriptors(t)
	if none, err := genl.Open("weir-none"); err != nil || none.Known() {
		t.Errorf("%+v, %v", none, err)
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors, %d before: the socket of a family that there is not is still open", n, before)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if n := descriptors(t); n != before-1 {
		t.Errorf("%d descriptors, %d before: a family was closed, and its socket is still open", n, before)
	}
}

// descriptors are how many this process has.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
