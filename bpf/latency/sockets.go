package latency

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf/link"
)

// Socket is a TCP socket of this network namespace, as the kernel has it.
type Socket struct {
	Local, Remote netip.AddrPort
	// State is that of include/net/tcp_states.h: 1 is established, 10 listens.
	State uint8
	// RTT is the smoothed round trip time, Deviation its mean deviation; 0: none was measured.
	RTT, Deviation time.Duration
	// TotalRetransmits is how many segments were sent again. Retransmits is how often the oldest
	// was that is not acknowledged.
	TotalRetransmits uint32
	Retransmits      uint8
	// Window is the congestion window in segments, PeerWindow what the peer takes, in bytes.
	Window, PeerWindow uint32
	// Unsent, Unacked and Unread are bytes: written and not sent, sent and not acknowledged,
	// received and not read.
	Unsent, Unacked, Unread uint32
	// Backlog is how many connections wait for accept(2) on a listener, of MostBacklog.
	Backlog, MostBacklog uint32
}

// Listens reports whether it is a listener.
func (s *Socket) Listens() bool { return s.State == stateListen }

const stateListen = 10

// Sockets calls f for each TCP socket of the network namespace of the calling thread, listeners first,
// while it returns true. The Socket is f's for the call, in which it must not use the tracer. Only a tracer of rtt knows sockets; those of
// other ports than [Config.Ports] are not among them.
func (t *Tracer) Sockets(f func(*Socket) bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.open(); err != nil {
		return err
	}
	if t.about.Name != RTT {
		return fmt.Errorf("trace %s: %w: it knows no sockets: use the tracer rtt", t.about.Name, errors.ErrUnsupported)
	}
	return eachSocket(t.walk, f)
}

func eachSocket(walk *link.Iter, f func(*Socket) bool) (err error) {
	r, err := walk.Open()
	if err != nil {
		return fmt.Errorf("walk the sockets: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	buffered := bufio.NewReaderSize(r, 64<<10)
	var record [socketBytes]byte
	var s Socket
	for {
		_, err := io.ReadFull(buffered, record[:])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("walk the sockets: %w", err)
		}
		raw, _ := decode[rttSocketState](record[:])
		s = socketOf(&raw)
		if !f(&s) {
			return nil
		}
	}
}

func socketOf(raw *rttSocketState) Socket {
	return Socket{
		Local: addrPort(raw.Local, raw.LocalPort, raw.IsIpv6 != 0), Remote: addrPort(raw.Remote, raw.RemotePort, raw.IsIpv6 != 0),
		State: raw.State, RTT: time.Duration(raw.SrttUs) * time.Microsecond, Deviation: time.Duration(raw.MdevUs) * time.Microsecond,
		TotalRetransmits: raw.TotalRetransmits, Retransmits: raw.Retransmits, Window: raw.Window, PeerWindow: raw.PeerWindow,
		Unsent: raw.Unsent, Unacked: raw.Unacked, Unread: raw.Unread, Backlog: raw.Backlog, MostBacklog: raw.MostBacklog,
	}
}

// addrPort is an address of four words in the network's order. A listener of IPv6 stays one.
func addrPort(words [4]uint32, port uint16, isIPv6 bool) netip.AddrPort {
	var b [16]byte
	for i, w := range words {
		binary.LittleEndian.PutUint32(b[4*i:], w)
	}
	addr := netip.AddrFrom16(b)
	if !isIPv6 || addr.Is4In6() {
		addr = addr.Unmap()
	}
	return netip.AddrPortFrom(addr, port)
}

type classKey struct {
	port    uint16
	inbound bool
}

// classes adds up all sockets. The walk has the listeners before the connections to them.
func classes(to []Class, walk *link.Iter) ([]Class, error) {
	all := map[classKey]*Class{}
	of := func(port uint16, inbound bool) *Class {
		key := classKey{port, inbound}
		if all[key] == nil {
			all[key] = &Class{Port: port, Inbound: inbound, RTT: Histogram{Name: "rtt"}}
		}
		return all[key]
	}
	err := eachSocket(walk, func(s *Socket) bool {
		if s.Listens() {
			c := of(s.Local.Port(), true)
			c.Backlog += uint64(s.Backlog)
			c.MostBacklog += uint64(s.MostBacklog)
			return true
		}
		if c := all[classKey{s.Local.Port(), true}]; c != nil {
			c.add(s)
		} else {
			of(s.Remote.Port(), false).add(s)
		}
		return true
	})
	for _, c := range all {
		to = append(to, *c)
	}
	slices.SortFunc(to, func(a, b Class) int {
		return cmp.Or(-cmp.Compare(a.Conns, b.Conns), cmp.Compare(a.Port, b.Port))
	})
	return to, err
}

func (c *Class) add(s *Socket) {
	c.Conns++
	if s.RTT > 0 {
		c.RTT.Observe(s.RTT)
	}
	c.Retransmits += uint64(s.TotalRetransmits)
	if s.Retransmits > 0 {
		c.Retransmitting++
	}
	if s.PeerWindow == 0 {
		c.Closed++
	}
	if c.LeastWindow == 0 || s.Window < c.LeastWindow {
		c.LeastWindow = s.Window
	}
	c.Unsent += uint64(s.Unsent)
	c.Unacked += uint64(s.Unacked)
	c.Unread += uint64(s.Unread)
}
