package genltest

import (
	"testing"

	"weir/tuning/genl"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/genetlink/genltest"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Serve answers a request to the family, m of the message req.
type Serve func(m genetlink.Message, req netlink.Message) ([]genetlink.Message, error)

// Family is that of a kernel that has it alone, until the test has ended.
func Family(tb testing.TB, name string, serve Serve) *genl.Family {
	tb.Helper()
	return open(tb, name, genltest.ServeFamily(genetlink.Family{ID: 20, Name: name, Version: 1}, genltest.Func(serve)))
}

// Older is a family of a kernel that does not have it.
func Older(tb testing.TB, name string) *genl.Family {
	tb.Helper()
	return open(tb, name, func(genetlink.Message, netlink.Message) ([]genetlink.Message, error) { return nil, Error(unix.ENOENT) })
}

func open(tb testing.TB, name string, serve genltest.Func) *genl.Family {
	tb.Helper()
	f, err := genl.Find(genltest.Dial(serve), name)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := f.Close(); err != nil {
			tb.Error(err)
		}
	})
	return f
}

// Error is the kernel's answer to what it refuses; 0 acknowledges what it does.
func Error(number unix.Errno) error { return genltest.Error(int(number)) }

// Message is an answer of the attributes that encode adds.
func Message(tb testing.TB, encode func(*netlink.AttributeEncoder)) genetlink.Message {
	tb.Helper()
	ae := netlink.NewAttributeEncoder()
	encode(ae)
	data, err := ae.Encode()
	if err != nil {
		tb.Error(err)
	}
	return genetlink.Message{Data: data}
}
