package latency

import (
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

func eachSocket(walk *link.Iter, f func(*Socket) bool) error {
	var s Socket
	return eachState(walk, func(raw *rttSocketState) bool {
		s = socketOf(raw)
		return f(&s)
	})
}

// walkBuffer holds as much as the kernel gives at once: it collects eight pages (kernel/bpf/bpf_iter.c).
const walkBuffer = 32 << 10

// eachState is [Tracer.Sockets] of what the kernel writes of each socket.
func eachState(walk *link.Iter, f func(*rttSocketState) bool) (err error) {
	r, err := walk.Open()
	if err != nil {
		return fmt.Errorf("walk the sockets: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	buffer := make([]byte, walkBuffer)
	for have := 0; ; {
		n, err := r.Read(buffer[have:])
		have += n
		at := 0
		for ; have-at >= socketBytes; at += socketBytes {
			if raw, _ := decode[rttSocketState](buffer[at:]); !f(&raw) {
				return nil
			}
		}
		have = copy(buffer, buffer[at:have])
		switch {
		case errors.Is(err, io.EOF) && have == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("walk the sockets: %w: %d bytes of one", io.ErrUnexpectedEOF, have)
		case err != nil:
			return fmt.Errorf("walk the sockets: %w", err)
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

// walked is the last walk over all sockets.
type walked struct {
	budget float64 // share of one CPU that walks may take; 0: any
	at     time.Time
	took   time.Duration
	found  []Class
}

// classes are those of a walk now, or of the last one if another would be over the budget.
func (w *walked) classes(to []Class, walk *link.Iter) ([]Class, time.Time, error) {
	begun := time.Now()
	if w.budget > 0 && begun.Sub(w.at).Seconds()*w.budget < w.took.Seconds() {
		return append(to, w.found...), w.at, nil
	}
	found, err := classes(w.found[:0], walk)
	if err != nil {
		return to, begun, err
	}
	w.found, w.at, w.took = found, begun, time.Since(begun)
	return append(to, w.found...), w.at, nil
}

// classes adds up all sockets. The walk has the listeners before the connections to them.
func classes(to []Class, walk *link.Iter) ([]Class, error) {
	all := map[classKey]*Class{}
	last := map[bool]*Class{} // inbound or not; most sockets are of the class of the one before
	of := func(port uint16, inbound bool) *Class {
		if c := last[inbound]; c != nil && c.Port == port {
			return c
		}
		key := classKey{port, inbound}
		if all[key] == nil {
			all[key] = &Class{Port: port, Inbound: inbound, RTT: Histogram{Name: "rtt"}}
		}
		last[inbound] = all[key]
		return all[key]
	}
	listens := map[uint16]bool{}
	err := eachState(walk, func(s *rttSocketState) bool {
		if s.State == stateListen {
			listens[s.LocalPort] = true
			c := of(s.LocalPort, true)
			c.Backlog += uint64(s.Backlog)
			c.MostBacklog += uint64(s.MostBacklog)
			return true
		}
		if listens[s.LocalPort] {
			of(s.LocalPort, true).add(s)
		} else {
			of(s.RemotePort, false).add(s)
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

func (c *Class) add(s *rttSocketState) {
	c.Conns++
	if s.SrttUs > 0 {
		c.RTT.Observe(time.Duration(s.SrttUs) * time.Microsecond)
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
