package main

import (
	"errors"
	"net"
	"os"
	"slices"

	"weir/bpf/hooks"
	"weir/bpf/xdp"
	"weir/cmd/weir/config"
	"weir/tuning"
	"weir/tuning/netdev"
)

// examineHooks are findings of the kernel's BPF, one for each hook. Enabled is xdp.enabled.
func examineHooks(probed []hooks.Hook, enabled string) (found []tuning.Finding) {
	if slices.ContainsFunc(probed, func(h hooks.Hook) bool { return errors.Is(h.Err, hooks.ErrPrivileges) }) {
		return []tuning.Finding{{
			Check: "BPF", Level: tuning.Warn, Found: "it cannot be tried: " + hooks.ErrPrivileges.Error(),
			Why: "which hooks the kernel has is found out by loading a program of each", Mend: "run weir doctor as root, and not in a container",
		}}
	}
	for _, h := range probed {
		f := tuning.Finding{Check: "BPF: " + h.Name, Level: tuning.OK, Found: "there"}
		if h.Err != nil {
			f.Level, f.Found = tuning.Warn, h.Err.Error()
			if h.Guard && enabled == "on" {
				f.Level = tuning.Fail
			}
			f.Why = "weir does without: " + h.Lost
			f.Mend = "boot Linux " + h.Since + " or newer"
			if h.Option != "" {
				f.Mend += ", built with " + h.Option
			}
			if errors.Is(h.Err, hooks.ErrForbidden) {
				f.Mend = "cat /sys/kernel/security/lockdown; boot without lockdown=confidentiality if that is it, or do without"
			}
			if h.Guard {
				f.Mend += ", or set xdp.enabled: off"
			}
		}
		found = append(found, f)
	}
	return found
}

// lookAtXDP gathers what is known of the guarded interface, in the network namespace of the calling thread. Not ok: there is none.
func lookAtXDP(cfg config.XDP, probed []hooks.Hook) (x tuning.XDP, ok bool) {
	ifc, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return x, false
	}
	x = tuning.XDP{
		Interface: cfg.Interface, Loopback: ifc.Flags&net.FlagLoopback != 0, MTUBytes: ifc.MTU, PageBytes: os.Getpagesize(),
		Enabled: cfg.Enabled, Attach: cfg.Attach, Frags: cfg.Frags, Pin: cfg.Pin,
		KernelFrags: slices.ContainsFunc(probed, func(h hooks.Hook) bool { return h.Name == hooks.Frags && h.Err == nil }),
	}
	x.Device, x.DeviceErr = deviceOf(cfg.Interface)
	all, err := xdp.Occupants(cfg.Interface)
	x.OnErr = err
	for _, o := range all {
		x.On = append(x.On, tuning.Attached{ID: o.ID, Name: o.Name, Mode: o.Mode, Link: o.Link, Ours: o.Ours()})
	}
	return x, true
}

// deviceOf is what a device can do with XDP.
func deviceOf(name string) (d netdev.Device, err error) {
	c, err := netdev.Open()
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return c.Device(name)
}
