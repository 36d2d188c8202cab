package loop

import (
	"context"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"weir/edge/http1"
	"weir/gateway/upstream"
	"weir/gateway/way"
	"weir/internal/pulse"
	"weir/internal/sockets"
	"weir/internal/wheel"

	"github.com/panjf2000/gnet/v2"
)

// loop is one event loop: its conns and all that serves them. All of it is touched on the loop alone, but for el.
type loop struct {
	server  *Server
	shard   uint32 // of what is counted: the loop's number
	el      gnet.EventLoop
	lag     *pulse.Lag
	poller  int // epoll(7) descriptor; -1 while it is not known, 0 if it cannot be
	limits  http1.Limits
	answers http1.Limits
	clients map[*client]struct{}
	idle    map[*upstream.Server]*idle
	wheel   wheel.Wheel[expirer]
	base    time.Time // the clock, at the last tick
	now     time.Time // when it was read last: at the begin of each callback, and after what takes long

	asking, checking, dialing int
	waiting                   map[*upstream.Server]*waiting
	blocked                   []blocked // those that do not take what they are sent
	looking                   bool

	idPrefix [16]byte
	idNext   uint64

	// Scratch of one callback at a time.
	free     []*exchange
	response http1.Response
	onward   http1.Onward
	lines    []byte // of a head: what we say
	host     []byte
	reason   []byte
	out      []byte
	without  []string
	part     int // of the client's buffer, see client.bodyPart
}

// expirer is what has a deadline.
type expirer interface {
	expired()
	Timer() *wheel.Timer[expirer]
}

// blocked is a conn to which more waits to be written than may, and who is not read until it has sunk.
type blocked struct {
	to   gnet.Conn
	from reader
}

// reader is a conn that can be paused.
type reader interface{ resume() }

func newLoop(s *Server, el gnet.EventLoop, shard uint32) *loop {
	l := &loop{
		server: s, shard: shard, el: el, poller: -1, clients: map[*client]struct{}{}, idle: map[*upstream.Server]*idle{}, waiting: map[*upstream.Server]*waiting{},
		limits:  http1.Limits{MaxHeadBytes: s.cfg.MaxHeadBytes, MaxFields: s.cfg.MaxFields, AllowHTTP10: true, AllowAbsolute: true, EndToEnd: []string{s.cfg.IdentityField}},
		answers: http1.Limits{MaxHeadBytes: maxAnswerHead, MaxFields: maxAnswerFields, AllowHTTP10: true},
		without: []string{"Forwarded", "X-Forwarded-*", "X-Real-Ip", "X-Request-Id", s.cfg.IdentityField, "", "", "", "", ""}, // see hideFromUpstream
		idNext:  rand.Uint64(),                                                                                                //nolint:gosec // it tells requests apart, and is no secret
		base:    time.Now(),
	}
	l.lag = pulse.NewLag(l.base)
	l.now = l.base
	var b [8]byte
	for i := range b {
		b[i] = byte(rand.Uint32()) //nolint:gosec // as above
	}
	hex.Encode(l.idPrefix[:], b[:])
	return l
}

// clock reads the clock, and only the one that does not go back: that is half of time.Now.
func (l *loop) clock() time.Time {
	l.now = l.base.Add(time.Since(l.base))
	return l.now
}

// ticks is the clock of the rules when the loop's was read.
func (l *loop) ticks() uint64 { return l.server.deps.Ticks(l.now) }

// do has f run on the loop. Any goroutine. The error says that the engine has ended: then there is nothing to run it for.
func (l *loop) do(f func()) error {
	return l.el.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
		l.clock()
		f()
		return nil
	}))
}

// tick advances the timers.
func (l *loop) tick(time.Duration) {
	l.base = time.Now() // the wall's clock may have been set
	l.now = l.base
	l.wheel.Advance(func(e expirer) { e.expired() })
}

// drain has nobody come any more, and ends what idles; the rest ends with its answer.
func (l *loop) drain() {
	if fds, err := sockets.ListenersOf(max(l.poller, 0)); err == nil && l.poller > 0 {
		for _, fd := range fds {
			sockets.Unwatch(l.poller, fd) // gnet would stop all loops for a failing accept
			stopListening(fd)
		}
	}
	for c := range l.clients {
		if c.state == stateHead && c.gc.InboundBuffered() == 0 {
			c.abort()
		}
	}
}

// exchange is one that is free.
func (l *loop) exchange() *exchange {
	n := len(l.free)
	if n == 0 {
		return &exchange{}
	}
	e := l.free[n-1]
	l.free = l.free[:n-1]
	return e
}

// maxFree bounds the exchanges that are kept for later.
const maxFree = 1024

func (l *loop) put(e *exchange) {
	if len(l.free) < maxFree {
		e.reset()
		l.free = append(l.free, e)
	}
}

// requestIDBytes is how long one of ours is.
const requestIDBytes = 32

// requestID is another one each time.
func (l *loop) requestID(to []byte) {
	copy(to, l.idPrefix[:])
	l.idNext++
	const digits = "0123456789abcdef"
	for i, n := requestIDBytes-1, l.idNext; i >= len(l.idPrefix); i-- {
		to[i] = digits[n&15]
		n >>= 4
	}
}

// block has from not read until to has taken what waits for it.
func (l *loop) block(to gnet.Conn, from reader) {
	l.blocked = append(l.blocked, blocked{to, from})
	l.lookSoon()
}

func (l *loop) lookSoon() {
	if l.looking {
		return
	}
	l.looking = true
	time.AfterFunc(look, func() { _ = l.do(l.lookAtBlocked) })
}

func (l *loop) lookAtBlocked() {
	l.looking = false
	var drained []reader
	l.blocked = slices.DeleteFunc(l.blocked, func(b blocked) bool {
		if b.to.OutboundBuffered() > lowWater {
			return false
		}
		drained = append(drained, b.from)
		return true
	})
	for _, r := range drained {
		r.resume()
	}
	if len(l.blocked) > 0 {
		l.lookSoon()
	}
}

// unblock forgets that somebody waits.
func (l *loop) unblock(from reader) {
	if len(l.blocked) == 0 {
		return
	}
	l.blocked = slices.DeleteFunc(l.blocked, func(b blocked) bool { return b.from == from })
}

// pause has a conn not read.
func (l *loop) pause(gc gnet.Conn) {
	if l.poller > 0 {
		_ = sockets.Pause(l.poller, gc.Fd(), gc.OutboundBuffered() > 0) // it is read once more then, and paused again
	}
}

func (l *loop) unpause(gc gnet.Conn) {
	if l.poller > 0 {
		_ = sockets.Resume(l.poller, gc.Fd(), gc.OutboundBuffered() > 0) // one that is gone is not read
	}
}

// idle are the conns to a server that idle, the last used last; uses is how many there are, those that do not idle too.
type idle struct {
	conns []*origin
	uses  int
}

// idleOf is where a new conn to a server will idle.
func (l *loop) idleOf(s *upstream.Server) *idle {
	in := l.idle[s]
	if in == nil {
		in = &idle{}
		l.idle[s] = in
	}
	in.uses++
	return in
}

// forget drops a conn that has ended.
func (l *loop) forget(o *origin) {
	in := o.idle
	if in == nil {
		return
	}
	o.idle = nil
	if i := slices.Index(in.conns, o); i >= 0 {
		in.conns = slices.Delete(in.conns, i, i+1)
	}
	if in.uses--; in.uses == 0 {
		delete(l.idle, o.server)
	}
}

// takeIdle is a conn to a server that idles, nil if there is none.
func (l *loop) takeIdle(s *upstream.Server) *origin {
	in := l.idle[s]
	if in == nil || len(in.conns) == 0 {
		return nil
	}
	last := len(in.conns) - 1
	o := in.conns[last]
	in.conns[last] = nil
	in.conns = in.conns[:last]
	return o
}

// keep has a conn idle, if that may be.
func (l *loop) keep(o *origin, cfg *way.UpstreamConfig) {
	waits := o.gc.InboundBuffered() > 0
	if !waits && len(l.waiting) > 0 {
		if c := l.nextWaiting(o.server); c != nil {
			c.take(o)
			return
		}
	}
	most := max(cfg.IdleConns/l.server.cfg.Loops, min(cfg.IdleConns, 1))
	if len(o.idle.conns) >= most || l.server.draining.Load() || waits {
		o.abort()
		return
	}
	o.client = nil
	o.idle.conns = append(o.idle.conns, o)
	l.wheel.Arm(o, cfg.IdleTimeout)
}

// peerOf is the address of a conn's other end.
func peerOf(gc gnet.Conn) netip.AddrPort {
	if a := addrOf(gc.RemoteAddr()); a != nil {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	}
	return netip.AddrPort{}
}
