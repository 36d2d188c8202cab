package loop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weir/internal/sockets"

	"github.com/panjf2000/gnet/v2"
)

// historySize is how many ended conns a loop remembers, 72 bytes each.
const historySize = 1024

// whyConns bounds the conns of one client that [Server.Why] reports from each loop.
const whyConns = 100

// Cause is why a conn had bytes outstanding when it fell behind.
type Cause uint8

// The causes, as TCP has them at that moment.
const (
	// CauseReceiveWindow: the client's end has no room: it does not read.
	CauseReceiveWindow Cause = iota
	// CauseCongestionWindow: the network has not acknowledged what is on its way.
	CauseCongestionWindow
	// CauseUnsent: neither; more was written at once than the kernel takes unsent.
	CauseUnsent
	causes
)

// String is the cause's name in reports.
func (c Cause) String() string {
	return [...]string{"receive_window", "congestion_window", "unsent_bytes"}[min(c, causes-1)]
}

// past is what a conn is remembered for, while it lives and after.
type past struct {
	opened  uint32 // ticks
	skipped uint32
	falls   [causes]uint16
}

// ended is a conn that was closed.
type ended struct {
	client   netip.AddrPort
	identity string // empty for none
	past     past
	closed   uint32 // ticks
	reason   CloseReason
}

// history is a loop's last ended conns.
type history struct {
	conns []ended
	next  int
}

func (h *history) add(e ended) {
	if len(h.conns) < historySize {
		h.conns = append(h.conns, e)
		return
	}
	h.conns[h.next] = e
	h.next = (h.next + 1) % historySize
}

// ConnReport is what became of one conn.
type ConnReport struct {
	Client netip.AddrPort `json:"client"`
	// Local and Remote are the ends of its socket, by which the kernel knows it, while it lives; behind a proxy Remote is
	// that, not Client.
	Local  netip.AddrPort `json:"local,omitzero"`
	Remote netip.AddrPort `json:"remote,omitzero"`
	// Identity is the subject of its token, empty if it had none; Class that client's of quotas, while it lives.
	Identity string `json:"identity,omitempty"`
	Class    string `json:"class,omitempty"`
	// State is what it is doing: proxy header, request, opening, websocket, stream, closing or closed.
	State  string   `json:"state"`
	Topics []string `json:"topics,omitempty"`
	// TLS is where its records are made, kernel or process; empty if it is in plain text.
	TLS string `json:"tls,omitempty"`
	// OpenFor is how long ago it was opened, ClosedAgo closed, to a tenth of a second.
	OpenFor   time.Duration `json:"open_for_ns"`
	ClosedAgo time.Duration `json:"closed_ago_ns,omitempty"`
	// Reason is why it ended, if it did.
	Reason string `json:"reason,omitempty"`
	// Falls are how often its subscriptions fell behind, by cause; Skipped is how many events of
	// topics in mode latest it was not sent for that.
	Falls   map[string]int `json:"falls"`
	Skipped int            `json:"skipped"`
	// LoopLag is the longest that a task of the conn's event loop waited for its turn, in the last second
	// or two: then all of the loop's conns did.
	LoopLag time.Duration `json:"loop_lag_ns"`
	// Outstanding are the bytes that wait here; TCP is its socket's state, nil if it is closed.
	Outstanding int      `json:"outstanding_bytes"`
	TCP         *TCPInfo `json:"tcp,omitempty"`
}

// isClosed is 1 for one that ended, else 0.
func (r *ConnReport) isClosed() int {
	if r.State == stateClosed.String() {
		return 1
	}
	return 0
}

// TCPInfo is the part of tcp(7)'s TCP_INFO that says why bytes are outstanding.
type TCPInfo struct {
	UnsentBytes      int           `json:"unsent_bytes"`
	UnackedSegments  int           `json:"unacked_segments"`
	CongestionWindow int           `json:"congestion_window_segments"`
	ReceiveWindow    int           `json:"receive_window_bytes"`
	SegmentBytes     int           `json:"segment_bytes"`
	RTT              time.Duration `json:"rtt_ns"`
}

// cause is why the socket takes no more.
func (i *TCPInfo) cause() Cause {
	switch {
	case i.ReceiveWindow < max(i.SegmentBytes, 1)*(i.UnackedSegments+1):
		return CauseReceiveWindow
	case i.UnackedSegments >= i.CongestionWindow:
		return CauseCongestionWindow
	}
	return CauseUnsent
}

// Fell implements [hub.Conn].
func (c *conn) Fell() {
	cause := CauseUnsent
	if i, ok := tcpInfo(c.gc.Fd()); ok {
		cause = i.cause()
	}
	if n := &c.past.falls[cause]; *n < ^uint16(0) {
		*n++
	}
}

// Skipped implements [hub.Conn].
func (c *conn) Skipped(events uint64) {
	c.past.skipped = uint32(min(uint64(c.past.skipped)+events, uint64(^uint32(0)))) //nolint:gosec // bounded by the min
}

// client is the address of the conn's other end, or the one that a PROXY header named.
func (c *conn) client() netip.AddrPort {
	if c.aside&asideClient != 0 {
		return c.loop.proxied[c]
	}
	return addrPort(c.gc.RemoteAddr())
}

func (l *loop) since(ticks uint32) time.Duration {
	return time.Duration(l.wheel.now-ticks) * tick
}

// sought is whose conns are asked for: those of an address, with one port unless that is 0, or of an identity.
type sought struct {
	addr     netip.Addr
	port     uint16
	identity string
}

func (s *sought) is(client netip.AddrPort, identity string) bool {
	if s.identity != "" {
		return identity == s.identity
	}
	return client.Addr() == s.addr && (s.port == 0 || client.Port() == s.port)
}

// subject is that of the conn's token, empty if it had none.
func (c *conn) subject() string {
	if w := c.who(); w != nil {
		return w.subject
	}
	return ""
}

// report is what became of the conns that are sought, those that ended last.
func (l *loop) report(of *sought) (all []ConnReport) {
	for _, c := range l.wheel.pick(whyConns, func(c *conn) bool { return of.is(c.client(), c.subject()) }) {
		r := c.past.report(c.client(), c.state.String())
		r.OpenFor, r.TLS = l.since(c.past.opened), c.layer()
		r.Outstanding = c.outstanding()
		r.Local, r.Remote = sockets.LocalAddr(c.gc.Fd()), addrPort(c.gc.RemoteAddr())
		r.LoopLag = l.recent.most()
		if w := c.who(); w != nil {
			r.Identity, r.Class = w.subject, w.class
		}
		if i, ok := tcpInfo(c.gc.Fd()); ok {
			r.TCP = &i
		}
		for s := range c.subs() {
			r.Topics = append(r.Topics, string(s.Topic()))
		}
		if c.reasoned {
			r.Reason = c.reason.String()
		}
		all = append(all, r)
	}
	for _, e := range l.history.conns {
		if !of.is(e.client, e.identity) {
			continue
		}
		r := e.past.report(e.client, stateClosed.String())
		r.OpenFor, r.ClosedAgo = l.since(e.past.opened)-l.since(e.closed), l.since(e.closed)
		r.Reason, r.Identity = e.reason.String(), e.identity
		all = append(all, r)
	}
	return all
}

func (p *past) report(client netip.AddrPort, state string) ConnReport {
	r := ConnReport{Client: client, State: state, Falls: map[string]int{}, Skipped: int(p.skipped)}
	for cause := range causes {
		r.Falls[cause.String()] = int(p.falls[cause])
	}
	return r
}

// Why says what became of the conns of a client, an address, an address with a port, or sub= and the subject of its
// token: of those held, and of the last that ended, which come last. It looks through all conns, on their loops.
func (s *Server) Why(ctx context.Context, client string) ([]ConnReport, error) {
	of, err := parseClient(client)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	reports := make(chan []ConnReport, len(s.loops))
	asked := 0
	for el, l := range s.loops {
		asked++
		err = errors.Join(err, el.Execute(ctx, gnet.RunnableFunc(func(context.Context) error {
			reports <- l.report(of)
			return nil
		})))
	}
	s.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("ask the event loops: %w", err)
	}
	var all []ConnReport
	for range asked {
		select {
		case r := <-reports:
			all = append(all, r...)
		case <-ctx.Done():
			return nil, fmt.Errorf("ask the event loops: %w", ctx.Err())
		}
	}
	SortReports(all)
	return all, nil
}

// SortReports puts those that ended last, the latest of them first.
func SortReports(all []ConnReport) {
	slices.SortStableFunc(all, func(a, b ConnReport) int {
		if a.isClosed() != b.isClosed() {
			return cmp.Compare(a.isClosed(), b.isClosed())
		}
		return cmp.Compare(a.ClosedAgo, b.ClosedAgo)
	})
}

func parseClient(client string) (*sought, error) {
	if subject, ok := strings.CutPrefix(client, "sub="); ok && subject != "" {
		return &sought{identity: subject}, nil
	}
	if p, err := netip.ParseAddrPort(client); err == nil {
		return &sought{addr: p.Addr().Unmap(), port: p.Port()}, nil
	}
	addr, err := netip.ParseAddr(client)
	if err != nil {
		return nil, fmt.Errorf("client %q: want an address, such as 192.0.2.7, one with a port, such as 192.0.2.7:51234, or the subject of a token, such as sub=alice", client)
	}
	return &sought{addr: addr.Unmap()}, nil
}
