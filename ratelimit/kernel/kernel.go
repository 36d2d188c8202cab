package kernel

import (
	"fmt"
	"net/netip"

	"weir/bpf/xdp"
	"weir/ratelimit"
)

// Policy is what is to hold for packets.
type Policy struct {
	// Client is the quota of one client, Burst what it may send at once.
	Client ratelimit.Rate
	Burst  uint64
	// Total is the quota of all clients for whom the table has no room, with the same burst.
	Total ratelimit.Rate
	// Allow are prefixes that no quota holds for.
	Allow []netip.Prefix
	Mode  xdp.Mode
}

// Program is the part of xdp.Program that a Policy is written to.
type Program interface {
	SetClass(id int, c xdp.Class) error
	ReplaceAllow(prefixes []netip.Prefix) error
	SetMode(m xdp.Mode) error
}

// Compile is the class of a policy. The error wraps ratelimit.ErrOutOfRange.
func Compile(p Policy) (xdp.Class, error) {
	client, err := ratelimit.Compile(p.Client, p.Burst)
	if err != nil {
		return xdp.Class{}, fmt.Errorf("quota of a client: %w", err)
	}
	total, err := ratelimit.Compile(p.Total, p.Burst)
	if err != nil {
		return xdp.Class{}, fmt.Errorf("quota of all clients: %w", err)
	}
	return xdp.Class{
		Interval: client.Interval, Tolerance: client.Tolerance,
		TotalInterval: total.Interval, TotalTolerance: total.Tolerance,
	}, nil
}

// Apply writes p: quota and allow list first, the mode last, so that nobody is charged by half
// a policy. What the program has already it does not write again, so that applying a policy
// twice forgives nobody anything. A policy that Compile refuses writes nothing.
func Apply(prog Program, p Policy) error {
	class, err := Compile(p)
	if err != nil {
		return err
	}
	if err := prog.SetClass(0, class); err != nil {
		return err
	}
	if err := prog.ReplaceAllow(p.Allow); err != nil {
		return err
	}
	return prog.SetMode(p.Mode)
}
