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
// returns how. Unless Config.Pin is set the program is gone when the process dies; with it the
// program takes the place of the pinned one in one step. After [Program.Detach] all is as it was before that. Attached already, it does nothing.
// Errors wrap [ErrBusy], [ErrNoNative], [ErrNotEthernet], [ErrNotPermitted] or [ErrNoInterface].
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
	if p.away {
		if err := p.comeBack(); err != nil {
			return "", fmt.Errorf("attach xdp_weir to %s again: %w", ifc.Name, err)
		}
	}
	if adopted, err := p.adopt(); adopted || err != nil {
		return p.how, err
	}
	if p.cfg.Attach != AttachGeneric {
		err := p.attach(ifc, AttachNative)
		if err == nil || errors.Is(err, ErrBusy) || errors.Is(err, ErrNotPermitted) {
			return p.how, err
		}
		if p.cfg.Attach == AttachNative {
			return "", fmt.Errorf("attach xdp_weir to %s as native: driver %s: %w: set xdp.attach to auto or generic, or use a NIC of docs/HOSTS.md: %w", ifc.Name, driver(ifc.Name), ErrNoNative, err)
		}
		p.fallback = err
		p.log.Info("generic xdp, since the driver has no native one", "iface", ifc.Name, "driver", driver(ifc.Name), "err", err)
	}
	return p.how, p.attach(ifc, AttachGeneric)
}

// adopt puts the program into the pinned link, if there is one. p.mu is held.
func (p *Program) adopt() (bool, error) {
	if p.pins == nil {
		return false, nil
	}
	l, err := p.pins.adoptLink(pinLink, p.objs.XdpWeir)
	if err != nil && isAttachTypeTrap(err) {
		if err = p.reload(); err == nil {
			l, err = p.pins.adoptLink(pinLink, p.objs.XdpWeir)
		}
	}
	if err != nil {
		return false, fmt.Errorf("attach xdp_weir to %s in place of the pinned one: %w", p.cfg.Interface, err)
	}
	if l == nil {
		return false, nil
	}
	p.link, p.how = l, attachedAs(p.cfg.Interface)
	return true, nil
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
		if p.pins != nil {
			return l.Pin(p.pins.path(pinLink))
		}
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

// Attached reports whether the program is on its interface: an interface that was removed takes the
// link with it. When it is back [Program.Attach] attaches the program anew.
func (p *Program) Attached() (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open("look at the link"); err != nil {
		return false, err
	}
	if p.link == nil {
		return false, nil
	}
	info, err := p.link.Info()
	if err != nil {
		return false, fmt.Errorf("look at the link of xdp_weir: %w", err)
	}
	if x := info.XDP(); x != nil && x.Ifindex != 0 {
		return true, nil
	}
	// It is defunct: what it holds is of no use.
	if p.pins != nil {
		_ = p.link.Unpin() // its file may have gone
	}
	err = p.link.Close()
	p.link, p.how, p.fallback = nil, "", nil
	return false, err
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
