package traceload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"weir/bpf/flood"
	"weir/bpf/netlab"
)

// frames are made by an XDP program at one end of a cable, and come to one at the other that passes
// them on, to an address that nobody has: the kernel drops them next.
type frames struct {
	from, to *netlab.Namespace
	program  io.Closer
	flood    *flood.Flood
}

// programs are how many run on a frame: the one that makes it, and the one that it comes to.
const programs = 2

func newFrames(prefix string) (*frames, error) {
	f := &frames{}
	if err := f.open(prefix); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *frames) open(prefix string) (err error) {
	const fromEnd, toEnd = "from0", "to0"
	here, there := netip.MustParsePrefix("198.18.0.2/24"), netip.MustParsePrefix("198.18.0.1/24")
	if err := netlab.Cleanup(prefix); err != nil {
		return fmt.Errorf("remove what an earlier run left: %w", err)
	}
	if f.from, err = netlab.New(prefix + "from"); err != nil {
		return err
	}
	if f.to, err = netlab.New(prefix + "to"); err != nil {
		return err
	}
	err = netlab.Pair(
		netlab.End{In: f.from, Interface: fromEnd, Addrs: []netip.Prefix{here}},
		netlab.End{In: f.to, Interface: toEnd, Addrs: []netip.Prefix{there}},
	)
	if err != nil {
		return err
	}
	if f.program, err = f.to.PassXDP(toEnd); err != nil {
		return err
	}
	f.flood, err = flood.Open(flood.Config{
		In: f.from, Interface: fromEnd, To: net.HardwareAddr{2, 0, 0, 0, 0, 0xfe}, Kind: flood.KindUDP,
		Targets: []netip.AddrPort{netip.AddrPortFrom(there.Addr(), 9)}, Sources: []netip.Addr{here.Addr()},
	})
	return err
}

func (f *frames) play(t Turn) (events uint64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), t.Duration)
	defer cancel()
	perSecond := int(t.PerSecond / programs)
	if t.PerSecond > 0 {
		perSecond = max(perSecond, 1)
	}
	r, err := f.flood.Run(ctx, perSecond)
	return programs * r.Sent, err
}

func (f *frames) close() error {
	var errs []error
	if f.flood != nil {
		errs = append(errs, f.flood.Close())
	}
	if f.program != nil {
		errs = append(errs, f.program.Close())
	}
	for _, n := range []*netlab.Namespace{f.from, f.to} {
		if n != nil {
			errs = append(errs, n.Close())
		}
	}
	return errors.Join(errs...)
}
