package loop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir/edge/admit"
	"weir/edge/proxyproto"
	"weir/edge/tlsconn"

	"github.com/panjf2000/gnet/v2"
)

// tlsDoor accepts TLS conns and takes them through their handshake, to a loop. It counts those that
// do not come so far.
type tlsDoor struct {
	server     *Server
	handshaker *tlsconn.Handshaker
	listener   *net.TCPListener
	address    atomic.Pointer[net.TCPAddr]
	ctx        context.Context // ends with the door
	stop       context.CancelFunc
	accepting  sync.WaitGroup
	enrolling  chan struct{}
	given      atomic.Uint64 // conns
	pausing    chan struct{} // has a token while nothing is to be accepted
	closed     [reasons]atomic.Uint64
}

// maxEnrolling bounds the conns being given to loops: each has two descriptors then, the second of
// which may be one of the spare ones.
const maxEnrolling = spareDescriptors / 4

// newTLSDoor is nil if there is none.
func newTLSDoor(s *Server) (*tlsDoor, error) {
	if s.cfg.TLSListen == "" {
		return nil, nil
	}
	h, err := tlsconn.New(s.cfg.tls(), s.log)
	if err != nil {
		return nil, fmt.Errorf("serve TLS: %w", err)
	}
	return &tlsDoor{server: s, handshaker: h, enrolling: make(chan struct{}, maxEnrolling), pausing: make(chan struct{}, 1)}, nil
}

// listen makes the address known. Conns wait there until open.
func (d *tlsDoor) listen() error {
	if p := d.server.predecessor; p != nil && p.tlsListener != nil {
		d.listener, p.tlsListener = p.tlsListener, nil
		d.address.Store(d.listener.Addr().(*net.TCPAddr)) //nolint:forcetypeassert // of a TCP listener it is
		d.ctx, d.stop = context.WithCancel(context.Background())
		return nil
	}
	// As for conns of gnet: whether a client is there its pings tell.
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: false}, KeepAlive: -1}
	lc.SetMultipathTCP(false)
	if d.server.cfg.SharedPort {
		lc.Control = sharePort
	}
	at := d.server.cfg.TLSListen
	ln, err := lc.Listen(context.Background(), "tcp", at)
	if errors.Is(err, syscall.EADDRINUSE) {
		return inUse("edge.tls_listen", at, err)
	}
	if err != nil {
		return notOurs("edge.tls_listen", at, err)
	}
	d.listener = ln.(*net.TCPListener)        //nolint:forcetypeassert // of a network "tcp" it is
	d.address.Store(ln.Addr().(*net.TCPAddr)) //nolint:forcetypeassert // of a network "tcp" it is
	d.ctx, d.stop = context.WithCancel(context.Background())
	return nil
}

// addr is where it listens, nil before.
func (d *tlsDoor) addr() net.Addr {
	if a := d.address.Load(); a != nil {
		return a
	}
	return nil
}

// pause leaves what comes in the listener's queue, until resume.
func (d *tlsDoor) pause() {
	d.pausing <- struct{}{}
	_ = d.listener.SetDeadline(time.Unix(1, 0))
}

func (d *tlsDoor) resume() {
	_ = d.listener.SetDeadline(time.Time{})
	<-d.pausing
}

// open accepts until close; looping is closed when conns can be given to loops.
func (d *tlsDoor) open(looping <-chan struct{}) {
	d.accepting.Go(func() { d.handshaker.Watch(d.ctx) })
	d.accepting.Go(func() {
		select {
		case <-looping:
			d.accept()
		case <-d.ctx.Done():
		}
	})
}

// close ends the handshakes under way, and returns when each conn is closed or with its loop.
func (d *tlsDoor) close() {
	d.stop()
	_ = d.listener.Close()
	d.accepting.Wait()
	d.handshaker.Wait()
}

// acceptPause is how long no more conns are accepted when that failed, as for want of memory.
const acceptPause = 10 * time.Millisecond

func (d *tlsDoor) accept() {
	for {
		conn, err := d.listener.AcceptTCP()
		switch {
		case err == nil:
			d.arrive(conn)
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded): // it pauses
			select {
			case d.pausing <- struct{}{}: // until it does no more
				<-d.pausing
			case <-d.ctx.Done():
				return
			}
		default:
			select {
			case <-time.After(acceptPause):
			case <-d.ctx.Done():
				return
			}
		}
	}
}

// tlsArrival is a TLS conn on its way to a loop.
type tlsArrival struct {
	conn     *net.TCPConn
	deadline time.Time
	client   netip.AddrPort
	behind   bool // a proxy: its conn begins with a PROXY header
	proxied  bool // client is from such a header
	admitted bool // counted by the server's gate
	session  tlsconn.Session
	taken    atomic.Bool // by its loop
}

// arrive takes in a conn that was accepted, or closes it.
func (d *tlsDoor) arrive(conn *net.TCPConn) {
	s := d.server
	a := &tlsArrival{conn: conn, deadline: time.Now().Add(s.cfg.HandshakeTimeout), client: addrPort(conn.RemoteAddr())}
	held := s.conns.Add(1)
	if held > int64(s.cfg.MaxConns) || descriptor(conn) >= s.maxFD {
		d.turnAway(a, ReasonRefusedFull)
		return
	}
	// Before it has a place among the handshakes, if its client is known already.
	if a.behind = s.cfg.isProxy(a.address()); !a.behind {
		if r, ok := d.admit(a); !ok {
			d.turnAway(a, r)
			return
		}
	}
	if !d.handshaker.Go(func() { d.usher(a) }) {
		d.turnAway(a, ReasonRefusedFull)
	}
}

// turnAway closes a conn that does not come to a loop.
func (d *tlsDoor) turnAway(a *tlsArrival, r CloseReason) {
	_ = a.conn.Close()
	if a.admitted {
		d.server.gate.Release(a.address())
	}
	d.server.conns.Add(-1)
	d.closed[r].Add(1)
}

// usher takes a conn from its first byte to its loop.
func (d *tlsDoor) usher(a *tlsArrival) {
	if err := a.conn.SetDeadline(a.deadline); err != nil {
		d.turnAway(a, ReasonPeerGone)
		return
	}
	stop := context.AfterFunc(d.ctx, func() { _ = a.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var ahead []byte
	var err error
	if a.behind {
		var r CloseReason
		var ok bool
		if ahead, r, ok = d.readProxyHeader(a); !ok {
			d.turnAway(a, r)
			return
		}
	}
	if a.session, err = d.handshaker.Handshake(d.ctx, a.conn, ahead); err != nil {
		a.explain(err)
		d.turnAway(a, d.reasonOf(err))
		return
	}
	switch err := d.enroll(a); {
	case a.taken.Load(): // and counted by its loop from there on
	case errors.Is(err, syscall.EMFILE):
		d.turnAway(a, ReasonRefusedFull)
	default:
		d.turnAway(a, ReasonPeerGone)
	}
}

// explainPatience bounds the time that a client which is told what is wrong has to end its conn: what it
// sent and nobody read would make the kernel take back the answer.
const explainPatience = 100 * time.Millisecond

// explain tells a client that speaks HTTP in plain text what is wrong, if that is why its handshake failed.
func (a *tlsArrival) explain(err error) {
	bad, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok || string(bad.RecordHeader[:4]) != "GET " {
		return
	}
	_ = a.conn.SetDeadline(time.Now().Add(explainPatience))
	if _, err := a.conn.Write(errPlainText.appendTo(nil)); err == nil && a.conn.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, a.conn, 64<<10)
	}
}

// reasonOf is why a conn without a loop ends.
func (d *tlsDoor) reasonOf(err error) CloseReason {
	switch {
	case d.ctx.Err() != nil:
		return ReasonDraining
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ReasonHandshakeTimeout
	case gone(err):
		return ReasonPeerGone
	}
	return ReasonTLSError
}

// gone reports whether an error is the client's end.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// readProxyHeader learns from a proxy's conn whom it is for, and asks the gate; ahead is what came behind
// the header. Without ok r is why the conn is to be closed.
func (d *tlsDoor) readProxyHeader(a *tlsArrival) (ahead []byte, r CloseReason, ok bool) {
	ahead, err := a.proxyHeader()
	switch {
	case err == nil:
		r, ok = d.admit(a)
	case errors.Is(err, os.ErrDeadlineExceeded) || gone(err):
		r = d.reasonOf(err)
	default:
		r = ReasonBadProxyHeader
	}
	return ahead, r, ok
}

func (a *tlsArrival) proxyHeader() (ahead []byte, err error) {
	b := make([]byte, 0, proxyproto.MaxLineBytes)
	for {
		h, n, err := proxyproto.Parse(b)
		if err == nil {
			if h.Source.IsValid() {
				a.client, a.proxied = proxyClient(h), true
			}
			return b[n:], nil
		}
		if !errors.Is(err, proxyproto.ErrShort) {
			return nil, err
		}
		part := make([]byte, max(n-len(b), 1))
		n, err = a.conn.Read(part)
		if b = append(b, part[:n]...); err != nil {
			return nil, err
		}
	}
}

// admit asks the gate about a conn whose client is known. There is no answer to send before the
// handshake, which is what a refusal is to save.
func (d *tlsDoor) admit(a *tlsArrival) (CloseReason, bool) {
	verdict, _ := d.server.gate.Admit(a.address(), admit.Ticks(time.Since(d.server.start)))
	a.admitted = verdict == admit.Admitted
	return refusals[verdict], a.admitted
}

// address is what the limits of a conn hold for, as [conn.address] is.
func (a *tlsArrival) address() netip.Addr { return a.client.Addr().WithZone("") }

// enroll gives a conn to the loop whose turn it is, and waits until that has it.
func (d *tlsDoor) enroll(a *tlsArrival) error {
	if err := a.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	// At its end gnet puts the zone's memory among its free buffers: it must be nobody else's.
	if addr, ok := a.conn.RemoteAddr().(*net.TCPAddr); ok {
		addr.Zone = strings.Clone(addr.Zone)
	}
	d.enrolling <- struct{}{}
	defer func() { <-d.enrolling }()
	loops := d.server.allLoops()
	to := loops[d.given.Add(1)%uint64(len(loops))]
	registered, err := to.el.Enroll(gnet.NewContext(context.Background(), a), a.conn)
	if err != nil {
		return err
	}
	select {
	case r := <-registered:
		return r.Err
	case <-d.server.stopped:
		return errors.New("the event loops stopped")
	}
}

// onTLSArrival takes in a conn after its handshake.
func (l *loop) onTLSArrival(gc gnet.Conn, a *tlsArrival) {
	a.taken.Store(true)
	c := &conn{gc: gc, loop: l, state: stateHead, past: past{opened: l.wheel.now}, admitted: a.admitted, tls: inKernel}
	if r := a.session.Records; r != nil {
		c.tls = &records{layer: r}
	}
	l.takeIn(c)
	gc.SetSafeContext(nil) // which is a still
	l.countTLS(c, 1)
	if a.proxied {
		l.proxied[c] = a.client
		c.aside |= asideClient
	}
	if gc.Fd() >= l.server.maxFD {
		l.refuse(c, ReasonRefusedFull, errFull)
		return
	}
	l.wheel.arm(c, time.Until(a.deadline))
}

// countTLS counts a conn by where its record layer is.
func (l *loop) countTLS(c *conn, n int64) {
	switch {
	case c.tls == inKernel:
		l.stats.tlsKernel.Add(n)
	case c.tls != nil:
		l.stats.tlsProcess.Add(n)
	}
}

// descriptor is a conn's, 0 if it has none any more.
func descriptor(conn *net.TCPConn) (fd int) {
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(n uintptr) { fd = int(n) }) //nolint:gosec // a descriptor is small
	}
	if err != nil {
		return 0
	}
	return fd
}

// addrPort is an address of a socket; IPv4 where it is mapped.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := tcp.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
