package loop

import (
	"iter"
	"math"
	"time"

	"weir/edge/hub"
	"weir/edge/ws"

	"github.com/panjf2000/gnet/v2"
)

// closeLinger bounds the time between our last byte and the client's end of the connection.
const closeLinger = 2 * time.Second

// connState is what a conn is doing.
//
//	proxy ──► head ──► opening ──► messages | stream ──► closing ──► closed
//	            └──────────┴──────────────────────────────┘
type connState uint8

const (
	stateProxy    connState = iota // its PROXY header is not complete
	stateHead                      // its request head is not complete
	stateOpening                   // its topics are being opened
	stateMessages                  // WebSocket
	stateStream                    // server-sent events
	stateClosing                   // the last byte is written; what comes in is dropped
	stateClosed                    // gone: gc must not be touched
)

// String is the state's name in reports.
func (s connState) String() string {
	return [...]string{"proxy header", "request", "opening", "websocket", "stream", "closing", "closed"}[min(s, stateClosed)]
}

// conn is one client's connection. It belongs to its loop.
type conn struct {
	gc   gnet.Conn
	loop *loop
	// sub is the conn's subscription, more those after the first, nil if there are none.
	sub  *hub.Sub
	more *[]*hub.Sub
	// open is the request while its topics are opened, and on /echo afterwards; else nil.
	open *opening

	prev, next *conn // in the wheel
	deadline   uint32
	need       uint32 // bytes that must be buffered before it is worth looking again
	decoder    ws.Decoder

	past    past
	counted uint32 // by the ledger, at this tick
	pending uint32 // outstanding bytes when it was last looked at; 0: not blocked then

	tls *records // nil: in plain text

	state    connState
	reason   CloseReason
	armed    bool
	pinged   bool // a ping is on its way and nothing came since
	refused  bool // counted among the loop's lingering refusals
	reasoned bool // reason is set
	admitted bool // counted by the server's gate
	aside    aside
}

// aside says what of a conn is kept in its loop, since few have it.
type aside uint8

const (
	// asideClient: its client is in the loop's proxied.
	asideClient aside = 1 << iota
	// asideBytes: what it has to read begins in the loop's carried.
	asideBytes
	// asideWho: whom its token names is in the loop's identified.
	asideWho
	// asideChecking: its token is being checked. It is in stateHead.
	asideChecking
)

// onTraffic looks at what has come, as plain text.
func (c *conn) onTraffic() {
	switch c.state {
	case stateProxy:
		c.readProxyHeader()
	case stateHead:
		if c.aside&asideChecking != 0 {
			c.boundEagerness()
			return
		}
		c.readHead()
	case stateOpening:
		c.boundEagerness()
	case stateMessages:
		c.readFrames()
	case stateStream, stateClosing:
		// A stream's client has nothing to say, a closing one is not listened to.
		c.discard(c.buffered())
	case stateClosed:
	}
}

// boundEagerness bounds what a client sends before its handshake is answered.
func (c *conn) boundEagerness() {
	limit := c.loop.cfg.MaxMessageBytes
	if c.state == stateHead { // the head is there still
		limit += c.loop.cfg.MaxHeadBytes
	}
	if c.buffered() > limit {
		c.respondError(ReasonTooLarge, errTooEager)
	}
}

// Blocked implements [hub.Conn].
func (c *conn) Blocked() bool { return c.state != stateClosed && c.outstanding() > 0 }

// Deliver implements [hub.Conn].
func (c *conn) Deliver(frames []byte, events int) {
	if c.state != stateMessages && c.state != stateStream {
		return
	}
	c.loop.stats.writes.Add(1)
	c.loop.stats.deliveries.Add(uint64(events)) //nolint:gosec // a count, never negative
	c.loop.stats.sentBytes.Add(uint64(len(frames)))
	c.write(frames)
}

// write sends b, or queues it if the kernel has no room. The conn may be closed when it
// returns.
func (c *conn) write(b []byte) {
	switch {
	case c.state == stateClosed:
	case c.tls.inProcess():
		c.seal(b)
	default:
		_, _ = c.gc.Write(b) // a failing write has closed the conn, by onClose
	}
}

// endWith notes why the conn ends; the first reason stands.
func (c *conn) endWith(r CloseReason) {
	if !c.reasoned {
		c.reason, c.reasoned = r, true
	}
}

// finish lets the client read what was written, then ends the conn: our side of it is shut,
// what still comes in is dropped (unread bytes would make the kernel send a reset, which
// takes the last frame from the client), and at the client's end or the deadline it closes.
func (c *conn) finish(r CloseReason) {
	c.endWith(r)
	if c.state == stateClosed {
		return
	}
	c.unsubscribe()
	c.open = nil
	if c.state != stateClosing {
		c.loop.closing++
	}
	c.state = stateClosing
	c.loop.wheel.arm(c, closeLinger)
	c.discard(c.buffered())
	c.endWrite()
}

// closeWith ends a WebSocket conn with a close frame, any other by itself.
func (c *conn) closeWith(r CloseReason, code uint16, text string) {
	if c.state == stateMessages {
		c.loop.scratch = ws.AppendClose(c.loop.scratch[:0], code, text)
		c.write(c.loop.scratch)
	}
	c.finish(r)
}

// closeSlow ends a conn whose client does not read. Its close frame stands behind all that
// is queued, so it has until the deadline to read that.
func (c *conn) closeSlow() {
	c.closeWith(ReasonSlowConsumer, closeTryLater, "slow consumer: read faster, or resume with since=")
}

// abort ends the conn at once.
func (c *conn) abort(r CloseReason) {
	c.endWith(r)
	if c.state != stateClosed {
		_ = c.gc.EventLoop().Close(c.gc)
	}
}

// others are the subscriptions after the first.
func (c *conn) others() []*hub.Sub {
	if c.more == nil {
		return nil
	}
	return *c.more
}

// subs are all of them.
func (c *conn) subs() iter.Seq[*hub.Sub] {
	return func(yield func(*hub.Sub) bool) {
		if c.sub == nil || !yield(c.sub) {
			return
		}
		for _, s := range c.others() {
			if !yield(s) {
				return
			}
		}
	}
}

func (c *conn) unsubscribe() {
	for s := range c.subs() {
		c.loop.shard.Unsubscribe(s)
	}
	c.sub, c.more = nil, nil
}

// expired is called when the conn's deadline has come.
func (c *conn) expired() {
	cfg := &c.loop.cfg
	served := c.state == stateMessages || c.state == stateStream
	if served && c.outlived() {
		c.endOfToken()
		return
	}
	if served && c.Blocked() {
		c.expiredBlocked()
		return
	}
	if c.state != stateStream {
		c.pending = 0
	}
	switch c.state {
	case stateProxy:
		c.abort(ReasonHandshakeTimeout)
	case stateHead, stateOpening:
		c.respondError(ReasonHandshakeTimeout, errHandshakeTimeout)
	case stateMessages:
		if c.pinged {
			c.closeWith(ReasonPongTimeout, closeGoingAway, "ping not answered")
			return
		}
		c.pinged = true
		c.arm(cfg.PongTimeout)
		c.write(pingFrame)
	case stateStream:
		c.expiredStream()
	case stateClosing:
		c.abort(c.reason)
	case stateClosed:
	}
}

// expiredBlocked gives a conn whose client does not read as long as it takes some bytes: a ping would
// stand behind those outstanding.
func (c *conn) expiredBlocked() {
	pending := uint32(min(c.outstanding(), math.MaxUint32)) //nolint:gosec // bounded by the min
	if pending == c.pending {
		c.closeSlow()
		return
	}
	c.pending = pending
	c.arm(c.loop.cfg.PongTimeout)
}

// heard notes that the client lives: its next ping is a full interval away.
func (c *conn) heard() {
	if c.pinged {
		c.pinged = false
		c.arm(c.loop.cfg.PingInterval)
	}
}
