package netlab

import (
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// xdpPass is XDP_PASS of linux/bpf.h.
const xdpPass = 2

// PassXDP attaches an XDP program that passes all to an interface in the namespace, until it is
// closed. What a program at the other end of a veth pair sends back (XDP_TX) arrives only at an
// end that has one: see veth_xdp_flush of drivers/net/veth.c.
func (n *Namespace) PassXDP(name string) (io.Closer, error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "pass", Type: ebpf.XDP, AttachType: ebpf.AttachXDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	if err != nil {
		return nil, fmt.Errorf("load a program that passes all: %w", err)
	}
	defer prog.Close() //nolint:errcheck // the link holds it
	var l link.Link
	err = n.onLink(name, func(on netlink.Link) (err error) {
		l, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: on.Attrs().Index, Flags: link.XDPDriverMode})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("attach a program that passes all to %s: %w", name, err)
	}
	return l, nil
}
