package xdp

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// modes are the ways in which a program is on an interface, by XDP_ATTACHED_....
func modes() []string {
	return []string{xdpAttachedDrv: "native", xdpAttachedSkb: "generic", xdpAttachedHw: "offload"}
}

// Occupants are the XDP programs on an interface in the network namespace of the calling thread. The error wraps
// [ErrNoInterface].
func Occupants(iface string) (all []Occupant, err error) {
	ifc, err := findInterface(iface)
	if err != nil {
		return nil, err
	}
	d, ok := deviceOf(ifc.Index)
	if !ok {
		return nil, fmt.Errorf("look for XDP programs on %s: the kernel does not tell of it", iface)
	}
	for how, mode := range modes() {
		if id := d.programs[uint8(how)]; id != 0 { //nolint:gosec // an index of four
			all = append(all, Occupant{ID: id, Name: nameOf(id), Mode: mode, Link: linkOf(id, ifc.Index)})
		}
	}
	return all, nil
}

// nameOf is a program's name, empty if this process may not ask.
func nameOf(id uint32) string {
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return ""
	}
	defer prog.Close() //nolint:errcheck // it was only asked for its name
	info, err := prog.Info()
	if err != nil {
		return ""
	}
	return info.Name
}

// linkOf is the id of the link that holds a program on an interface, 0 if there is none or this process may not ask.
func linkOf(program uint32, ifindex int) uint32 {
	var it link.Iterator
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil || info.Program != ebpf.ProgramID(program) {
			continue
		}
		if x := info.XDP(); x != nil && int(x.Ifindex) == ifindex {
			return uint32(it.ID)
		}
	}
	return 0
}
