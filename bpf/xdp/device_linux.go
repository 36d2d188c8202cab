package xdp

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/cilium/ebpf"
)

// Attributes of struct ifinfomsg, see linux/if_link.h.
const (
	iflaXDP       = 43
	iflaXDPProgID = 4
	nlaTypeMask   = 1<<14 - 1
)

// occupant says which XDP program is on an interface, as " (program 7, xdp_weir)", or nothing if
// that cannot be found out.
func occupant(ifindex int) string {
	id := programOn(ifindex)
	if id == 0 {
		return ""
	}
	name := ""
	if prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(id)); err == nil {
		if info, err := prog.Info(); err == nil {
			name = ", " + info.Name
		}
		_ = prog.Close() // it was only asked for its name
	}
	return fmt.Sprintf(" (program %d%s)", id, name)
}

// programOn is the id of the XDP program on an interface, 0 if there is none to be seen.
func programOn(ifindex int) uint32 {
	dump, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	if err != nil {
		return 0
	}
	messages, err := syscall.ParseNetlinkMessage(dump)
	if err != nil {
		return 0
	}
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != syscall.RTM_NEWLINK || len(m.Data) < syscall.SizeofIfInfomsg || int(int32(binary.NativeEndian.Uint32(m.Data[4:]))) != ifindex { //nolint:gosec // struct ifinfomsg: ifi_index is an int
			continue
		}
		xdp := attribute(m.Data[syscall.SizeofIfInfomsg:], iflaXDP)
		if id := attribute(xdp, iflaXDPProgID); len(id) == 4 {
			return binary.NativeEndian.Uint32(id)
		}
	}
	return 0
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
