package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namedDir is where named namespaces are mounted, as `ip netns` has them.
const namedDir = "/run/netns"

// Namespace is a network namespace, made by [New]. Its methods may be called from any goroutine.
type Namespace struct {
	// Name is the one that `ip netns` shows.
	Name   string
	handle netns.NsHandle
}

// New makes a named namespace with its loopback interface up.
func New(name string) (*Namespace, error) {
	n := &Namespace{Name: name}
	err := onThread(func() (err error) {
		if n.handle, err = netns.NewNamed(name); err != nil {
			return fmt.Errorf("make network namespace %s: it needs root, and a name that is free: %w", name, err)
		}
		if err := up("lo"); err != nil {
			return errors.Join(err, n.Close())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}

// errExited says that a function given to Do ended its goroutine, as a test's FailNow does.
var errExited = errors.New("the function called runtime.Goexit: return an error instead")

// onThread runs f on a thread of its own, which comes back to its namespace, or ends.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errExited
		defer func() { done <- err }()
		runtime.LockOSThread() // a goroutine that ends locked takes its thread with it
		home, open := netns.Get()
		if open != nil {
			err = fmt.Errorf("find this thread's network namespace: %w", open)
			return
		}
		defer home.Close() //nolint:errcheck // it is only read
		err = f()
		if back := netns.Set(home); back != nil {
			err = errors.Join(err, fmt.Errorf("go back to the network namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
	}()
	return <-done
}

// Do runs f inside the namespace, on one thread of its own. Sockets that f opens stay in it;
// goroutines that f starts do not run in it. f must not call a test's FailNow.
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", n.Name, err)
		}
		return f()
	})
}

// DialContext connects from inside the namespace. The address must be a literal one.
func (n *Namespace) DialContext(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	doErr := n.Do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, doErr
}

// Close removes the namespace and the interfaces in it, once no process uses it. Idempotent; not
// to be called while another goroutine uses n.
func (n *Namespace) Close() error {
	if !n.handle.IsOpen() {
		return nil
	}
	var errs []error
	if err := n.handle.Close(); err != nil {
		errs = append(errs, fmt.Errorf("close network namespace %s: %w", n.Name, err))
	}
	// Cleanup may have removed it.
	if err := netns.DeleteNamed(n.Name); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("remove network namespace %s: %w", n.Name, err))
	}
	return errors.Join(errs...)
}

// Cleanup removes the namespaces whose names begin with prefix: what a killed run left. An empty
// prefix would remove what others made: it is refused.
func Cleanup(prefix string) error {
	if prefix == "" {
		return errors.New("remove network namespaces: name a prefix of those to remove")
	}
	left, err := filepath.Glob(filepath.Join(namedDir, prefix+"*"))
	if err != nil {
		return fmt.Errorf("look for namespaces %s*: %w", prefix, err)
	}
	var errs []error
	for _, path := range left {
		if err := netns.DeleteNamed(filepath.Base(path)); err != nil {
			errs = append(errs, fmt.Errorf("remove network namespace %s: %w", filepath.Base(path), err))
		}
	}
	return errors.Join(errs...)
}

// End is one end of a veth pair.
type End struct {
	// In is where the end is.
	In *Namespace
	// Interface is its name, at most 15 bytes.
	Interface string
	// Addrs are its addresses, each with the length of its network's prefix.
	Addrs []netip.Prefix
}

// Pair joins two namespaces by a veth pair, both ends up and with their addresses.
func Pair(a, b End) error {
	err := a.In.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: a.Interface},
			PeerName:      b.Interface,
			PeerNamespace: netlink.NsFd(b.In.handle),
		})
	})
	if err != nil {
		return fmt.Errorf("make veth pair %s and %s: %w", a.Interface, b.Interface, err)
	}
	for _, e := range []End{a, b} {
		if err := e.In.Do(e.configure); err != nil {
			return err
		}
	}
	return nil
}

func (e End) configure() error {
	link, err := netlink.LinkByName(e.Interface)
	if err != nil {
		return fmt.Errorf("find %s: %w", e.Interface, err)
	}
	for _, p := range e.Addrs {
		addr, err := netlink.ParseAddr(p.String())
		if err == nil {
			if p.Addr().Is6() {
				addr.Flags = unix.IFA_F_NODAD // duplicate detection would hold it back for a second
			}
			err = netlink.AddrAdd(link, addr)
		}
		if err != nil {
			return fmt.Errorf("give %s the address %v: %w", e.Interface, p, err)
		}
	}
	return up(e.Interface)
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

// MAC is the hardware address of an interface in the namespace.
func (n *Namespace) MAC(name string) (mac net.HardwareAddr, err error) {
	err = n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		mac = link.Attrs().HardwareAddr
		return nil
	})
	return mac, err
}

// Isolated reports whether the calling thread is in a named network namespace, such as New
// makes: whether what is sent here stays here.
func Isolated() (bool, error) {
	own, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return false, fmt.Errorf("find this thread's network namespace: %w", err)
	}
	named, err := filepath.Glob(filepath.Join(namedDir, "*"))
	if err != nil {
		return false, fmt.Errorf("list network namespaces: %w", err)
	}
	for _, path := range named {
		if other, err := os.Stat(path); err == nil && os.SameFile(own, other) {
			return true, nil
		}
	}
	return false, nil
}
