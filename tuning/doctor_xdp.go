package tuning

import (
	"errors"
	"fmt"
	"strings"

	"weir/tuning/netdev"
)

// Attached is an XDP program on an interface.
type Attached struct {
	// ID is the kernel's; Name the program's own, "" if it may not be asked.
	ID   uint32
	Name string
	// Mode is "native", "generic" or "offload".
	Mode string
	// Link is the id of the bpf_link that holds it, 0 for one attached by netlink.
	Link uint32
	// Ours says that it is weir's.
	Ours bool
}

// XDP is what is known of the guarded interface.
type XDP struct {
	Interface string
	Loopback  bool
	MTUBytes  int
	PageBytes int
	// Enabled, Attach and Frags are those of the configuration, as xdp.enabled has them.
	Enabled, Attach, Frags string
	// Pin says that another weir's program may be taken over.
	Pin bool
	// Device is what the device can do, DeviceErr why that is not known.
	Device    netdev.Device
	DeviceErr error
	// On are the programs that are there, OnErr why that is not known.
	On    []Attached
	OnErr error
	// KernelFrags says that the kernel has programs that take packets of several buffers.
	KernelFrags bool
}

// Examine says how XDP runs on the interface, what is in its way there, and whether packets are too large for it.
func (x XDP) Examine() []Finding { return []Finding{x.mode(), x.programs(), x.mtu()} }

// level is how bad it is that XDP does not run.
func (x XDP) level() Level {
	switch x.Enabled {
	case "on":
		return Fail
	case "off":
		return OK
	}
	return Warn
}

// slower is how bad it is that XDP runs at a higher cost.
func (x XDP) slower() Level {
	if x.Enabled == "off" {
		return OK
	}
	return Warn
}

const otherNIC = "guard an interface whose driver has native XDP: docs/HOSTS.md"

// native reports whether the device runs programs in its driver, and whether that is known.
func (x XDP) native() (has, known bool) {
	return x.Device.Features&netdev.Basic != 0, x.DeviceErr == nil
}

// mode is how XDP can run there, and does.
func (x XDP) mode() Finding {
	f := Finding{Check: "XDP mode", Level: OK}
	has, known := x.native()
	switch {
	case !known:
		f.Found = x.Interface + ": not known: " + x.DeviceErr.Error()
		if errors.Is(x.DeviceErr, errors.ErrUnsupported) {
			f.Found = x.Interface + ": this kernel does not tell what the device can do, Linux 6.3 does"
		}
	case has:
		f.Found = fmt.Sprintf("%s: native (%s)", x.Interface, x.Device.Features)
		if x.Device.ZeroCopySegments > 1 {
			f.Found += fmt.Sprintf(", AF_XDP packets of up to %d buffers", x.Device.ZeroCopySegments)
		}
		if x.Device.Metadata != 0 {
			f.Found += ", it tells programs " + x.Device.Metadata.String()
		}
	default:
		f.Found = x.Interface + ": generic alone"
		f.Why = "it runs behind the driver, when a packet has cost an allocation: several times as much as native"
		if x.Loopback {
			break // there is nothing else for it
		}
		f.Level, f.Mend = x.slower(), otherNIC
	}
	if known && !has && x.Attach == "native" && x.Enabled != "off" {
		f.Level, f.Why, f.Mend = Fail, "xdp.attach is native, and the device has none: weir guards nothing", "set xdp.attach to auto, or "+otherNIC
	}
	for _, p := range x.On {
		f.Found += "; now " + p.Mode
		if p.Ours && p.Mode == "generic" && has && x.Attach != "generic" {
			f.Level = Warn
			f.Why = "weir's program runs generic though the device has native: when it was attached the driver refused it, as for an MTU or a setting of queues that has no room for it"
			f.Mend = "start weir with xdp.attach: native, which says why"
		}
	}
	return f
}

// programs are those that are there: the kernel has one on an interface, and gives it up for no other.
func (x XDP) programs() Finding {
	f := Finding{Check: "XDP programs", Level: OK, Found: x.Interface + ": none"}
	if x.OnErr != nil {
		return unreadable(f, x.OnErr)
	}
	var all, mend []string
	ours, named := true, true
	for _, p := range x.On {
		all = append(all, p.String())
		if !p.Ours {
			ours, named = false, named && p.Name != ""
			mend = append(mend, p.away(x.Interface))
		}
	}
	if len(all) == 0 {
		return f
	}
	f.Found = x.Interface + ": " + strings.Join(all, ", ")
	switch {
	case ours && x.Pin:
		f.Why = "it is weir's: with xdp.pin the next weir takes its place, in one step"
	case ours:
		f.Why = "it is weir's: a second weir on this interface would be refused"
	default:
		f.Level = x.level()
		f.Why = "an interface has one XDP program: weir is refused (\"interface has an XDP program already\"), and replaces none that is not its own"
		f.Mend = strings.Join(mend, "; ") + "; or guard another interface, or set xdp.enabled: off"
		if !named {
			f.Why += "; one without a name may be weir's own, if this process may not ask for it"
			f.Mend = "weir doctor as root, which may ask for the name; then " + f.Mend
		}
	}
	return f
}

// String is the program as `bpftool net` lists it: "program 7, pass (native, link 3)".
func (p Attached) String() string {
	text := fmt.Sprintf("program %d", p.ID)
	if p.Name != "" {
		text += ", " + p.Name
	}
	text += " (" + p.Mode
	if p.Link != 0 {
		text += fmt.Sprintf(", link %d", p.Link)
	}
	return text + ")"
}

// away is the command that takes a program off.
func (p Attached) away(iface string) string {
	switch {
	case p.Name == "xdp_dispatcher": // libxdp's, which runs several behind one another
		return "xdp-loader status " + iface + ", then xdp-loader unload " + iface + " --all"
	case p.Link != 0:
		return fmt.Sprintf("stop the process that holds it, or bpftool link detach id %d", p.Link)
	}
	mode := map[string]string{"native": "xdpdrv", "generic": "xdpgeneric", "offload": "xdpoffload"}[p.Mode]
	return fmt.Sprintf("ip link set dev %s %s off", iface, mode)
}

// What a page has beside the frame's payload, when it holds one packet for XDP: room in front, what the kernel notes of a buffer
// at its end, an Ethernet header and two VLAN tags. Bytes, on 64 bits.
const (
	headroom   = 256
	sharedInfo = 320
	frameHead  = 14 + 2*4
)

// oneBuffer is the largest MTU whose packets a page holds.
func oneBuffer(pageBytes int) int { return pageBytes - headroom - sharedInfo - frameHead }

// mtu holds the MTU to what one buffer takes, and what comes in several to who can do that.
func (x XDP) mtu() Finding {
	most := oneBuffer(x.PageBytes)
	f := Finding{Check: "MTU", Level: OK, Found: fmt.Sprintf("%s: %d, and one buffer of XDP takes %d", x.Interface, x.MTUBytes, most)}
	has, known := x.native()
	switch {
	case x.MTUBytes <= most || x.Loopback:
		return f
	case known && !has:
		f.Why = "generic XDP copies what is larger into one buffer first"
		return f
	}
	taken := x.KernelFrags && x.Frags != "off"
	device := x.Device.Features&netdev.ReceiveFrags != 0
	if known && device && taken {
		f.Found += "; more come in several, which the device hands to XDP and weir takes"
		return f
	}
	f.Level = x.slower()
	f.Why = "such packets come in several buffers"
	lower := fmt.Sprintf("ip link set %s mtu %d", x.Interface, min(most, 1500))
	switch {
	case x.Frags == "off":
		f.Why += ", and xdp.frags is off"
		f.Mend = "set xdp.frags: auto, or " + lower
	case !x.KernelFrags:
		f.Why += ", which programs take from Linux 5.18 on"
		f.Mend = lower
	case known:
		f.Why += ", which the driver hands to no program"
		f.Mend = lower
	default:
		f.Why += ", and whether the driver hands them to a program this kernel does not tell"
		f.Mend = "start weir with xdp.attach: native, which says whether it works, or " + lower
	}
	switch {
	case !known && taken:
		f.Why += ": if not, XDP runs generic, at several times the cost"
	case x.Attach == "native" && x.Enabled != "off":
		f.Level = Fail
		f.Why += ": weir cannot be attached as native, as xdp.attach asks for"
	default:
		f.Why += ": XDP runs generic, at several times the cost"
	}
	return f
}
