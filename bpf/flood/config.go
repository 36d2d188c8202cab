package flood

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"weir/bpf/netlab"
)

// ErrNotIsolated refuses to send where others could be hit.
var ErrNotIsolated = errors.New("a flood is sent only in a network namespace made for it")

// MaxDuration bounds a run.
const MaxDuration = time.Hour

// Config configures [Open].
type Config struct {
	// In is the namespace that sends, through Interface to the hardware address To.
	In        *netlab.Namespace
	Interface string
	To        net.HardwareAddr
	// Kind is what is sent.
	Kind Kind
	// Targets are where it goes, one of each family that is to be flooded, with the same port.
	Targets []netip.AddrPort
	// Sources take turns, at most 4096 of each family. For KindConnect they must be the
	// namespace's own.
	Sources []netip.Addr
	// Spoofed, one prefix of each family, gives each packet a random source of it instead.
	Spoofed []netip.Prefix
}

// Result is what a run sent.
type Result struct {
	// Sent are frames; for KindConnect they are conns that were opened.
	Sent uint64
	// Failed are conns that could not be opened in time.
	Failed uint64
}

// family is a target and its sources, in one version of IP.
type family struct {
	target  netip.Addr
	sources []netip.Addr
	spoofed netip.Prefix
}

// families sorts a configuration, IPv4 first.
func (c Config) families() (all [2]family, port uint16, err error) {
	of := func(a netip.Addr) *family {
		if a.Is4() {
			return &all[0]
		}
		return &all[1]
	}
	for _, t := range c.Targets {
		if !t.IsValid() || port != 0 && t.Port() != port {
			return all, 0, fmt.Errorf("flood %v: want valid targets with one port", c.Targets)
		}
		of(t.Addr()).target, port = t.Addr(), t.Port()
	}
	for _, a := range c.Sources {
		f := of(a)
		f.sources = append(f.sources, a)
	}
	for _, p := range c.Spoofed {
		of(p.Addr()).spoofed = p.Masked()
	}
	if port == 0 {
		return all, 0, errors.New("flood: want a target")
	}
	for _, f := range all {
		if f.target.IsValid() && len(f.sources) == 0 && !f.spoofed.IsValid() {
			return all, 0, fmt.Errorf("flood %v: want sources of its family", f.target)
		}
		if len(f.sources) > maxSources {
			return all, 0, fmt.Errorf("flood from %d sources: want at most %d", len(f.sources), maxSources)
		}
	}
	return all, port, nil
}

// templates are those of the kind for which there is a target.
func (c Config) templates(all [2]family, e ends) (made []floodTemplate, err error) {
	e.target4, e.target6 = all[0].target, all[1].target
	for _, s := range c.Kind.shapes() {
		if s.v6 && e.target6.IsValid() || !s.v6 && e.target4.IsValid() {
			made = append(made, s.template(e))
		}
	}
	if len(made) == 0 || len(made) > maxTemplates {
		return nil, fmt.Errorf("flood %v with %s: %d kinds of frames fit: want 1 to %d", c.Targets, c.Kind, len(made), maxTemplates)
	}
	return made, nil
}
