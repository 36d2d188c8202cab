package xdp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/cilium/ebpf/link"
)

// Attach puts the program on the interface, in the network namespace of the calling thread, and
// returns how. The link is not pinned: when the process dies, the program is gone. Attached
// already, it does nothing. Errors wrap [ErrBusy], [ErrNoNative], [ErrNotEthernet],
// [ErrNotPermitted] or [ErrNoInterface].
func (p *Program) Attach() (AttachMode, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open("attach"); err != nil {
		return "", err
	}
	if p.link != nil {
		return p.how, nil
	}
	ifc, err := findInterface(p.cfg.Interface)
	if err != nil {
		return "", err
	}
	if !hasEthernet(ifc.Index) {
		return "", fmt.Errorf("attach xdp_weir to %s: %w: name the interface that carries the tunnel as xdp.interface", ifc.Name, ErrNotEthernet)
	}
	if p.cfg.Attach != AttachGeneric {
		err := p.attach(ifc, AttachNative)
		if err == nil || errors.Is(err, ErrBusy) || errors.Is(err, ErrNotPermitted) {
			return p.how, err
		}
		if p.cfg.Attach == AttachNative {
			return "", fmt.Errorf("attach xdp_weir to %s: %w: set xdp.attach to auto or generic, or use a NIC of docs/HOSTS.md: %w", ifc.Name, ErrNoNative, err)
		}
		p.fallback = err
		p.log.Info("generic xdp, since the driver has no native one", "iface", ifc.Name, "err", err)
	}
	return p.how, p.attach(ifc, AttachGeneric)
}

// attach sets link and how. p.mu is held.
func (p *Program) attach(ifc *net.Interface, how AttachMode) error {
	flags := link.XDPDriverMode
	if how == AttachGeneric {
		flags = link.XDPGenericMode
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: p.objs.XdpWeir, Interface: ifc.Index, Flags: flags})
	switch {
	case err == nil:
		p.link, p.how = l, how
		return nil
	case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EEXIST):
		return fmt.Errorf("attach xdp_weir to %s: %w%s: stop the weir or the firewall that put it there (bpftool net show dev %s), or set xdp.enabled to off: %w", ifc.Name, ErrBusy, occupant(ifc.Index), ifc.Name, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("attach xdp_weir to %s: %w: run as root, or with CAP_BPF and CAP_NET_ADMIN: %w", ifc.Name, ErrNotPermitted, err)
	default:
		return fmt.Errorf("attach xdp_weir to %s as %s: %w", ifc.Name, how, err)
	}
}

func findInterface(name string) (*net.Interface, error) {
	ifc, err := net.InterfaceByName(name)
	if err == nil {
		return ifc, nil
	}
	var names []string
	if all, err := net.Interfaces(); err == nil {
		for _, i := range all {
			names = append(names, i.Name)
		}
	}
	return nil, fmt.Errorf("guard %s: %w: name one of %s as xdp.interface", name, ErrNoInterface, strings.Join(names, ", "))
}

// How is how the program is attached, empty if it is not.
func (p *Program) How() AttachMode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.how
}

// Fallback is why the program is attached as generic though AttachAuto tries native first; nil
// if it is not so.
func (p *Program) Fallback() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fallback
}

// Interface is the name of the interface guarded.
func (p *Program) Interface() string { return p.cfg.Interface }
