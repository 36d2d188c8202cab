package netlab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Counters are an interface's, since it was made.
type Counters struct {
	// Received are packets that came, RxDropped those that did not get to the stack.
	Received, RxDropped uint64
	// Sent are packets that went, TxDropped those that did not get to the other end; of XDP
	// frames only the latter are counted.
	Sent, TxDropped uint64
}

// Counters reads those of an interface in the namespace.
func (n *Namespace) Counters(name string) (c Counters, err error) {
	err = n.onLink(name, func(link netlink.Link) error {
		if s := link.Attrs().Statistics; s != nil {
			c = Counters{Received: s.RxPackets, RxDropped: s.RxDropped, Sent: s.TxPackets, TxDropped: s.TxDropped}
		}
		return nil
	})
	return c, err
}

// DefaultRoute sends what is for no network of an interface's to a gateway, and what comes from
// there back: the namespace's way to the Internet.
func (n *Namespace) DefaultRoute(name string, gateway netip.Addr) error {
	return n.onLink(name, func(link netlink.Link) error {
		err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()})
		if err != nil {
			return fmt.Errorf("route through %v on %s: %w", gateway, name, err)
		}
		return nil
	})
}

// SetUp brings an interface of the namespace up, or down as a cable is cut: what the other end sends is lost. Routes
// by way of its IPv4 addresses come back with it; what else was configured while it was up does not.
func (n *Namespace) SetUp(name string, up bool) error {
	return n.onLink(name, func(link netlink.Link) error {
		set := netlink.LinkSetDown
		if up {
			set = netlink.LinkSetUp
		}
		if err := set(link); err != nil {
			return fmt.Errorf("bring %s up or down: %w", name, err)
		}
		return nil
	})
}

// SetMTU sets the MTU of an interface in the namespace, in bytes.
func (n *Namespace) SetMTU(name string, bytes int) error {
	return n.onLink(name, func(link netlink.Link) error {
		if err := netlink.LinkSetMTU(link, bytes); err != nil {
			return fmt.Errorf("set the MTU of %s to %d: %w", name, bytes, err)
		}
		return nil
	})
}

// SetQueue gives an interface of the namespace a queue of so many bytes, packets with their headers: what finds
// no room there is dropped, and its sender is told (sch_fifo).
func (n *Namespace) SetQueue(name string, bytes uint32) error {
	return n.onLink(name, func(link netlink.Link) error {
		req := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
		req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: int32(link.Attrs().Index), Parent: netlink.HANDLE_ROOT}) //nolint:gosec // indices are small
		req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bfifo")))
		req.AddData(nl.NewRtAttr(nl.TCA_OPTIONS, binary.NativeEndian.AppendUint32(nil, bytes)))
		if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
			return fmt.Errorf("give %s a queue of %d bytes: %w", name, bytes, err)
		}
		return nil
	})
}

// Remove removes an interface of the namespace, and with it the other end of its cable.
func (n *Namespace) Remove(name string) error {
	return n.onLink(name, func(link netlink.Link) error {
		if err := netlink.LinkDel(link); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		return nil
	})
}

// SetFeatures switches features of an interface in the namespace on or off (ethtool -K), by the
// names that the kernel has for them, see [FeatureGRO].
func (n *Namespace) SetFeatures(name string, on bool, features ...string) error {
	return n.onLink(name, func(netlink.Link) error {
		family, err := netlink.GenlFamilyGet(unix.ETHTOOL_GENL_NAME)
		if err != nil {
			return fmt.Errorf("find the kernel's ethtool family: %w", err)
		}
		header := nl.NewRtAttr(unix.ETHTOOL_A_FEATURES_HEADER|unix.NLA_F_NESTED, nil)
		header.AddRtAttr(unix.ETHTOOL_A_HEADER_DEV_NAME, nl.ZeroTerminated(name))
		wanted := nl.NewRtAttr(unix.ETHTOOL_A_FEATURES_WANTED|unix.NLA_F_NESTED, nil)
		bits := wanted.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS|unix.NLA_F_NESTED, nil)
		for _, feature := range features {
			bit := bits.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS_BIT|unix.NLA_F_NESTED, nil)
			bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_NAME, nl.ZeroTerminated(feature))
			if on {
				bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_VALUE, nil)
			}
		}
		req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
		req.AddData(&nl.Genlmsg{Command: unix.ETHTOOL_MSG_FEATURES_SET, Version: unix.ETHTOOL_GENL_VERSION})
		req.AddData(header)
		req.AddData(wanted)
		if _, err := req.Execute(unix.NETLINK_GENERIC, 0); err != nil {
			return fmt.Errorf("switch %v of %s: %w", features, name, err)
		}
		return nil
	})
}

// onLink runs f inside the namespace on one of its interfaces.
func (n *Namespace) onLink(name string, f func(netlink.Link) error) error {
	return n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		return f(link)
	})
}
