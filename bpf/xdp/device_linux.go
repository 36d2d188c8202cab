package xdp

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Attributes of struct ifinfomsg, see linux/if_link.h.
const (
	iflaXDP         = 43
	iflaXDPAttached = 2
	iflaXDPProgID   = 4
	iflaXDPDrvID    = 5
	iflaXDPSkbID    = 6
	iflaXDPHwID     = 7
	xdpAttachedDrv  = 1
	xdpAttachedSkb  = 2
	xdpAttachedHw   = 3
	nlaTypeMask     = 1<<14 - 1
)

// hasEthernet reports whether frames on an interface begin with an Ethernet header, which the
// program reads: those of tunnels do not. An interface that cannot be asked is given the benefit
// of the doubt.
func hasEthernet(ifindex int) bool {
	d, ok := deviceOf(ifindex)
	return !ok || d.hardware == syscall.ARPHRD_ETHER || d.hardware == syscall.ARPHRD_LOOPBACK
}

// attachedAs is how an XDP program is on an interface.
func attachedAs(name string) AttachMode {
	if ifc, err := findInterface(name); err == nil {
		if d, ok := deviceOf(ifc.Index); ok && d.attached == xdpAttachedDrv {
			return AttachNative
		}
	}
	return AttachGeneric
}

// occupant says which XDP program is on an interface, as " (program 7, xdp_weir)", or nothing if
// that cannot be found out.
func occupant(ifindex int) string {
	d, _ := deviceOf(ifindex)
	if d.program == 0 {
		return ""
	}
	name := nameOf(d.program)
	if name != "" {
		name = ", " + name
	}
	return fmt.Sprintf(" (program %d%s)", d.program, name)
}

// driver is the name of an interface's driver, "unknown" if it does not say.
func driver(name string) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "unknown"
	}
	defer unix.Close(fd) //nolint:errcheck // it only carries a request
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, name)
	if err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(info.Driver[:])
}

// device is what the kernel says of an interface.
type device struct {
	hardware uint16 // ARPHRD_..., see linux/if_arp.h
	program  uint32 // id of the XDP program on it, 0 if there is none, or several
	attached uint8  // XDP_ATTACHED_...
	// programs are the ids of those on it by how they are: xdpAttachedDrv, xdpAttachedSkb, xdpAttachedHw.
	programs map[uint8]uint32
}

func deviceOf(ifindex int) (device, bool) {
	dump, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	if err != nil {
		return device{}, false
	}
	messages, err := syscall.ParseNetlinkMessage(dump)
	if err != nil {
		return device{}, false
	}
	for i := range messages {
		m := &messages[i]
		// struct ifinfomsg: the type is its second 16 bits, the index its second 32.
		if m.Header.Type != syscall.RTM_NEWLINK || len(m.Data) < syscall.SizeofIfInfomsg || int(binary.NativeEndian.Uint32(m.Data[4:])) != ifindex {
			continue
		}
		d := device{hardware: binary.NativeEndian.Uint16(m.Data[2:]), programs: map[uint8]uint32{}}
		xdp := attribute(m.Data[syscall.SizeofIfInfomsg:], iflaXDP)
		if id := attribute(xdp, iflaXDPProgID); len(id) == 4 {
			d.program = binary.NativeEndian.Uint32(id)
		}
		for how, kind := range map[uint8]uint16{xdpAttachedDrv: iflaXDPDrvID, xdpAttachedSkb: iflaXDPSkbID, xdpAttachedHw: iflaXDPHwID} {
			if id := attribute(xdp, kind); len(id) == 4 {
				d.programs[how] = binary.NativeEndian.Uint32(id)
			}
		}
		if how := attribute(xdp, iflaXDPAttached); len(how) == 1 {
			d.attached = how[0]
		}
		return d, true
	}
	return device{}, false
}

// attribute is the value of the first netlink attribute of a kind in b, nil if there is none.
func attribute(b []byte, kind uint16) []byte {
	for len(b) >= syscall.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < syscall.SizeofRtAttr || length > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&nlaTypeMask == kind {
			return b[syscall.SizeofRtAttr:length]
		}
		b = b[min((length+syscall.NLMSG_ALIGNTO-1)&^(syscall.NLMSG_ALIGNTO-1), len(b)):]
	}
	return nil
}
