package httpload

import (
	"errors"
	"fmt"
	"net/netip"

	"weir/edge/http1"

	"golang.org/x/sys/unix"
)

// State of a conn.
const (
	stateConnecting = iota
	stateIdle       // it may be given a request
	stateWaiting    // for an answer
)

// conn is kept, and opened anew where it ends.
type conn struct {
	fd     int
	source int
	state  uint8
	asked  *asked
	due    int64 // of its request
	since  int64 // when that was sent, or the connect begun
	rest   []byte
	answer http1.Response
	body   http1.Body
	inBody bool
	status int
	close  bool
}

// limits are of an answer's head: those of a gateway may have many fields, none is that large.
var limits = http1.Limits{MaxHeadBytes: 16 << 10, MaxFields: 100, AllowHTTP10: true} //nolint:gochecknoglobals // a constant

var methodGET = []byte("GET") //nolint:gochecknoglobals // a constant

func (g *generator) dial(c *conn) error {
	family := unix.AF_INET
	if g.cfg.To.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // without it a request is as small
	if n := len(g.cfg.Sources); n > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) // the port is chosen by the 4-tuple
		source := g.cfg.Sources[c.source%n]
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(source, 0))); err != nil {
			return errors.Join(fmt.Errorf("bind to %v: %w", source, err), unix.Close(fd))
		}
	}
	if err := unix.Connect(fd, sockaddr(g.cfg.To)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return errors.Join(fmt.Errorf("connect: %w", err), unix.Close(fd))
	}
	for len(g.byFD) <= fd {
		g.byFD = append(g.byFD, nil)
	}
	g.byFD[fd] = c
	c.fd, c.state, c.since = fd, stateConnecting, monotonic()
	c.rest, c.inBody = c.rest[:0], false
	ev := unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(fd)} //nolint:gosec // descriptors are small
	return unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, fd, &ev)
}

// handle is told that a conn's socket has something.
func (g *generator) handle(c *conn) {
	if c.state != stateConnecting {
		g.read(c)
		return
	}
	if code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
		g.lose(c)
		return
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.fd)} //nolint:gosec // descriptors are small
	if err := unix.EpollCtl(g.epoll, unix.EPOLL_CTL_MOD, c.fd, &ev); err != nil {
		g.lose(c)
		return
	}
	g.give(c)
}

// read takes what has come of an answer.
func (g *generator) read(c *conn) {
	n, err := unix.Read(c.fd, g.buf)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	if err != nil || n <= 0 || c.state != stateWaiting { // it ended, or speaks unasked
		g.lose(c)
		return
	}
	b := g.buf[:n]
	if len(c.rest) > 0 {
		c.rest = append(c.rest, b...)
		b = c.rest
	}
	if !c.inBody {
		used, err := c.head(b)
		switch {
		case errors.Is(err, http1.ErrShort):
			if len(c.rest) == 0 {
				c.rest = append(c.rest, b...)
			}
			return
		case err != nil:
			g.lose(c)
			return
		}
		b = b[used:]
	}
	used, done, err := c.body.Skip(b)
	c.rest = c.rest[:0]
	switch {
	case err != nil || done && used < len(b):
		g.lose(c)
	case done:
		g.done(c)
	}
}

// head reads the answer's head, and what its body is.
func (c *conn) head(b []byte) (used int, err error) {
	if used, err = c.answer.Parse(b, limits); err != nil {
		return 0, err
	}
	framing, err := c.answer.Framing(methodGET)
	if err != nil {
		return 0, err
	}
	if framing == http1.FramingClose {
		return 0, errors.New("an answer says not how long it is")
	}
	c.body.Start(framing, c.answer.ContentLength, 0)
	c.inBody, c.status, c.close = true, c.answer.Status, c.answer.Close
	return used, nil
}

// done counts an answer.
func (g *generator) done(c *conn) {
	c.inBody = false
	now := monotonic()
	g.report.Answered++
	if c.due >= g.from {
		switch {
		case c.status < 400:
			g.report.OK++
			_ = c.asked.hist.RecordValue(min(max(now-c.due, 1000), maxLatency)) // in range by the min and max
		case c.status == 429 || c.status == 503:
			g.report.Refused++
		default:
			g.report.Failed++
		}
	}
	if c.close {
		g.renew(c)
		return
	}
	g.give(c)
}

// lose is the end of a conn that should have lived, and of its request.
func (g *generator) lose(c *conn) {
	if c.state == stateWaiting && c.due >= g.from && g.playing {
		g.report.Lost++
	}
	if c.state == stateConnecting && c.fd >= 0 { // one that is refused is not asked again at once
		g.hangUp(c)
		return
	}
	g.renew(c)
}

// renew opens a conn anew.
func (g *generator) renew(c *conn) {
	if c.state == stateIdle {
		g.forget(c)
	}
	g.hangUp(c)
	g.report.Reopened++
	_ = g.dial(c) // if it fails, the next sweep tries again
}

// hangUp closes a conn's socket, if it has one, by a reset: that leaves no port behind in TIME_WAIT.
func (g *generator) hangUp(c *conn) {
	if c.fd >= 0 {
		_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		g.byFD[c.fd] = nil
		_ = unix.Close(c.fd)
	}
	c.fd, c.state, c.since = -1, stateConnecting, monotonic()
}

// forget takes an idle conn out of the ring.
func (g *generator) forget(c *conn) {
	for i := g.first; i < len(g.idle); i++ {
		if g.idle[i] == c {
			g.idle = append(g.idle[:i], g.idle[i+1:]...)
			return
		}
	}
}
