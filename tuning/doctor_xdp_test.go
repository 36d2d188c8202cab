package tuning

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"weir/tuning/netdev"
)

// able is a device with native XDP, guarded by weir's defaults, on which nothing is yet.
func able() XDP {
	return XDP{
		Interface: "eth0", MTUBytes: 1500, PageBytes: 4096, Enabled: "auto", Attach: "auto", Frags: "auto", KernelFrags: true,
		Device: netdev.Device{Features: netdev.Basic | netdev.Redirect | netdev.ReceiveFrags, ZeroCopySegments: 18, Metadata: 3},
	}
}

var errOld = fmt.Errorf("%w: Linux 6.3 or newer is needed", errors.ErrUnsupported)

func TestXDPIsExamined(t *testing.T) {
	for _, tt := range []struct {
		name  string
		with  func(x *XDP)
		check string
		level Level
		found string
		mend  string
	}{
		{"native", nil, "XDP mode", OK, "native (drop, pass and send back, redirect, packets of several buffers), AF_XDP packets of up to 18 buffers, it tells programs timestamp, hash", ""},
		{"generic alone", func(x *XDP) { x.Device.Features = 0 }, "XDP mode", Warn, "generic alone", "docs/HOSTS.md"},
		{"loopback", func(x *XDP) { x.Device.Features, x.Loopback = 0, true }, "XDP mode", OK, "generic alone", ""},
		{"native is asked for", func(x *XDP) { x.Device.Features, x.Attach = 0, "native" }, "XDP mode", Fail, "generic alone", "set xdp.attach to auto"},
		{"XDP is off", func(x *XDP) { x.Device.Features, x.Attach, x.Enabled = 0, "native", "off" }, "XDP mode", OK, "generic alone", "docs/HOSTS.md"},
		{"an old kernel", func(x *XDP) { x.Device, x.DeviceErr = netdev.Device{}, errOld }, "XDP mode", OK, "this kernel does not tell", ""},
		{"another error", func(x *XDP) { x.DeviceErr = errors.New("no answer") }, "XDP mode", OK, "not known: no answer", ""},
		{"weir runs generic", func(x *XDP) { x.On = []Attached{{ID: 7, Name: "xdp_weir", Mode: "generic", Ours: true}} }, "XDP mode", Warn, "now generic", "xdp.attach: native"},
		{"as it was told", func(x *XDP) {
			x.On, x.Attach = []Attached{{ID: 7, Name: "xdp_weir", Mode: "generic", Ours: true}}, "generic"
		}, "XDP mode", OK, "now generic", ""},

		{"nothing is there", nil, "XDP programs", OK, "eth0: none", ""},
		{"it may not be asked", func(x *XDP) { x.OnErr = errors.New("no answer") }, "XDP programs", Warn, "none", ""},
		{"weir", func(x *XDP) { x.On = []Attached{{ID: 7, Name: "xdp_weir", Mode: "native", Link: 3, Ours: true}} }, "XDP programs", OK, "program 7, xdp_weir (native, link 3)", ""},
		{"weir, pinned", func(x *XDP) { x.On, x.Pin = []Attached{{ID: 7, Name: "xdp_weir", Mode: "native", Ours: true}}, true }, "XDP programs", OK, "xdp_weir", ""},
		{"a link of somebody's", func(x *XDP) { x.On = []Attached{{ID: 8, Name: "pass", Mode: "native", Link: 4}} }, "XDP programs", Warn, "program 8, pass (native, link 4)", "bpftool link detach id 4"},
		{"and quotas are asked for", func(x *XDP) { x.On, x.Enabled = []Attached{{ID: 8, Mode: "generic"}}, "on" }, "XDP programs", Fail, "program 8 (generic)", "ip link set dev eth0 xdpgeneric off"},
		{"its name may not be asked", func(x *XDP) { x.On = []Attached{{ID: 8, Mode: "generic"}} }, "XDP programs", Warn, "program 8 (generic)", "weir doctor as root"},
		{"and quotas are off", func(x *XDP) { x.On, x.Enabled = []Attached{{ID: 8, Mode: "native"}}, "off" }, "XDP programs", OK, "program 8 (native)", "ip link set dev eth0 xdpdrv off"},
		{"a dispatcher", func(x *XDP) { x.On = []Attached{{ID: 9, Name: "xdp_dispatcher", Mode: "native", Link: 4}} }, "XDP programs", Warn, "xdp_dispatcher", "xdp-loader unload eth0 --all"},
		{"two of them", func(x *XDP) {
			x.On = []Attached{{ID: 7, Name: "xdp_weir", Mode: "native", Ours: true}, {ID: 8, Mode: "offload"}}
		}, "XDP programs", Warn, "program 8 (offload)", "xdpoffload off"},

		{"one buffer", func(x *XDP) { x.MTUBytes = 3498 }, "MTU", OK, "3498, and one buffer of XDP takes 3498", ""},
		{"larger pages", func(x *XDP) { x.MTUBytes, x.PageBytes, x.KernelFrags = 9000, 65536, false }, "MTU", OK, "takes 64938", ""},
		{"several buffers", func(x *XDP) { x.MTUBytes = 9000 }, "MTU", OK, "more come in several", ""},
		{"the driver has none", func(x *XDP) { x.MTUBytes, x.Device.Features = 9000, netdev.Basic }, "MTU", Warn, "9000", "ip link set eth0 mtu 1500"},
		{"and native is asked for", func(x *XDP) { x.MTUBytes, x.Device.Features, x.Attach = 9000, netdev.Basic, "native" }, "MTU", Fail, "9000", "mtu 1500"},
		{"the kernel has none", func(x *XDP) { x.MTUBytes, x.KernelFrags = 9000, false }, "MTU", Warn, "9000", "mtu 1500"},
		{"weir is told not to", func(x *XDP) { x.MTUBytes, x.Frags = 3499, "off" }, "MTU", Warn, "3499", "xdp.frags: auto"},
		{"not known", func(x *XDP) { x.MTUBytes, x.DeviceErr = 9000, errOld }, "MTU", Warn, "9000", "xdp.attach: native"},
		{"not known, and asked for", func(x *XDP) { x.MTUBytes, x.DeviceErr, x.Attach = 9000, errOld, "native" }, "MTU", Warn, "9000", "mtu 1500"},
		{"generic", func(x *XDP) { x.MTUBytes, x.Device.Features = 9000, 0 }, "MTU", OK, "9000", ""},
		{"too large, and XDP is off", func(x *XDP) { x.MTUBytes, x.Device.Features, x.Enabled = 9000, netdev.Basic, "off" }, "MTU", OK, "9000", "mtu 1500"},
	} {
		x := able()
		if tt.with != nil {
			tt.with(&x)
		}
		seen := false
		for _, f := range x.Examine() {
			if f.Check != tt.check {
				continue
			}
			seen = true
			if f.Level != tt.level || !strings.Contains(f.Found, tt.found) || !strings.Contains(f.Mend, tt.mend) || (f.Mend == "") != (tt.mend == "") || f.Level != OK && f.Why == "" {
				t.Errorf("%s: %+v", tt.name, f)
			}
		}
		if !seen {
			t.Errorf("%s: no finding %s", tt.name, tt.check)
		}
	}
}
