package flood

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"weir/bpf/netlab"
)

// Bounds of real conns.
const (
	connectors  = 8 // threads
	connectTime = time.Second
)

// connector opens conns and resets them.
type connector struct {
	from []netip.Addr
	to   []netip.AddrPort // of each, its target
	next atomic.Uint64

	opened, failed atomic.Uint64
	pace           sync.Mutex // guards the pacer that all threads share
}

func newConnector(all [2]family, port uint16) (*connector, error) {
	c := &connector{}
	for _, f := range all {
		for _, a := range f.sources {
			if f.target.IsValid() {
				c.from, c.to = append(c.from, a), append(c.to, netip.AddrPortFrom(f.target, port))
			}
		}
	}
	if len(c.from) == 0 {
		return nil, errors.New("flood with real conns: want sources that are not spoofed")
	}
	return c, nil
}

// run opens conns on some threads until ctx ends.
func (c *connector) run(ctx context.Context, in *netlab.Namespace, perSecond int) error {
	var wg sync.WaitGroup
	errs := make([]error, connectors)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := newPacer(perSecond)
	defer p.stop()
	for i := range connectors {
		wg.Go(func() {
			errs[i] = in.Do(func() error { return c.work(ctx, p) })
			if errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *connector) work(ctx context.Context, p *pacer) error {
	for {
		c.pace.Lock()
		n, ok := p.due(ctx, 1)
		c.pace.Unlock()
		if !ok {
			return nil
		}
		if n == 0 {
			continue
		}
		i := c.next.Add(1) % uint64(len(c.from))
		ok, err := openAndReset(c.from[i], c.to[i])
		if err != nil {
			return err
		}
		if ok {
			c.opened.Add(1)
		} else {
			c.failed.Add(1)
		}
	}
}

// openAndReset opens a conn and resets it, which leaves nothing behind on either side. It
// reports whether the conn was opened in time.
func openAndReset(from netip.Addr, to netip.AddrPort) (opened bool, err error) {
	domain := unix.AF_INET
	if from.Is6() {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("flood: open a socket: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // it is reset
	limit := unix.NsecToTimeval(connectTime.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1), // the port is chosen by the 4-tuple
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
		unix.Bind(fd, sockaddr(netip.AddrPortFrom(from, 0))),
	)
	if err != nil {
		return false, fmt.Errorf("flood from %v: %w", from, err)
	}
	return unix.Connect(fd, sockaddr(to)) == nil, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
