package loop

import (
	"net/netip"
	"time"

	"weir/edge/http1"
	"weir/edge/hub"
	"weir/edge/ws"
	"weir/internal/pulse"
	"weir/internal/sockets"

	"github.com/panjf2000/gnet/v2"
)

// maxLingering bounds the refused conns of one loop that are given time to read their answer;
// past it they are closed at once, so that refusing never uses up the reserve.
const maxLingering = 16

// loop is one event loop: its conns and all that serves them. Everything but stats, el and
// the shard's inbox is touched on the loop alone.
type loop struct {
	server     *Server
	cfg        Config
	limits     ws.Limits
	headLimits http1.Limits
	el         gnet.EventLoop
	shard      *hub.Shard
	stats      *stats
	wheel      wheel
	kick       *kick    // nil until gnet has taken it in
	poller     int      // epoll(7) descriptor, known with the kick
	frozen     bool     // in a takeover
	postponed  []func() // to its end
	conns      int
	closing    int // of them, in stateClosing
	// proxied are the clients that PROXY headers named; a conn without one has no entry.
	proxied map[*conn]netip.AddrPort
	// identified are whom the tokens of conns name; a conn without one has no entry.
	identified map[*conn]*who
	// carried is what conns from another process had to read there; few have anything.
	carried    map[*conn][]byte
	lingering  int
	history    history
	lag        *pulse.Lag
	recent     recentLag
	holdings   []holding // the ledger's, while it is made
	lookingOut bool      // a timer runs
	draining   bool
	drainTicks int

	// Scratch of one callback at a time.
	request        http1.Request
	scratch        []byte
	inflated       []byte
	pongs          pongs
	opened, sealed []byte // of the records of a conn
	sinceUp        int    // ticks since the shard's last Tick
}

// newLoop is called on the loop el itself, at its first conn.
func newLoop(s *Server, el gnet.EventLoop) *loop {
	l := &loop{
		server:     s,
		cfg:        s.cfg,
		limits:     ws.Limits{MaxFrameBytes: s.cfg.MaxMessageBytes, MaxMessageBytes: s.cfg.MaxMessageBytes, RequireMask: true},
		headLimits: http1.Limits{MaxHeadBytes: s.cfg.MaxHeadBytes, MaxFields: maxHeadFields},
		el:         el,
		stats:      &stats{},
		lag:        pulse.NewLag(time.Now()),
		proxied:    map[*conn]netip.AddrPort{},
		carried:    map[*conn][]byte{},
		identified: map[*conn]*who{},
	}
	l.shard = s.hub.NewShard(l.wake, func() int64 { return time.Now().UnixNano() }, l.stats.latency.RecordN)
	return l
}

// maxHeadFields bounds the header fields of a request; browsers send about twenty.
const maxHeadFields = 64

// wake makes the loop run its shard soon. Any goroutine.
func (l *loop) wake() {
	// After the engine's end there is nothing to run it, nor to be run.
	_ = l.ask(l.run)
}

// run serves the shard. What is left starts again through the kick, see the package comment.
func (l *loop) run() {
	more := l.shard.Run()
	if !l.lookingOut && l.shard.Fallen() {
		l.lookingOut = true
		time.AfterFunc(lookOut, l.lookForRoom)
	}
	if !more {
		return
	}
	if l.kick != nil {
		l.kick.again()
		return
	}
	l.wake()
}

// onKick takes in the loop's kick.
func (l *loop) onKick(gc gnet.Conn, k *kick) {
	l.kick = k
	var err error
	if l.poller, err = sockets.PollerOf(gc.Fd()); err != nil {
		l.server.log.Warn("no takeover from this process is possible", "err", err)
	}
}

// lookOut is how soon it is looked whether the conn of a subscriber that fell behind has drained.
// gnet does not tell.
const lookOut = 5 * time.Millisecond

// lookForRoom is called by a timer.
func (l *loop) lookForRoom() {
	// After the engine's end there is nothing to look at.
	_ = l.ask(func() {
		l.lookingOut = false
		if l.shard.Drain() {
			l.run()
		}
	})
}

// onOpen takes in a new conn, or refuses it.
func (l *loop) onOpen(gc gnet.Conn) *conn {
	c := &conn{gc: gc, loop: l, state: stateHead, past: past{opened: l.wheel.now}}
	l.takeIn(c)
	held := l.server.conns.Add(1)
	if held > int64(l.cfg.MaxConns) || gc.Fd() >= l.server.maxFD {
		l.refuse(c, ReasonRefusedFull, errFull)
		return c
	}
	l.wheel.arm(c, l.cfg.HandshakeTimeout)
	if l.cfg.isProxy(c.address()) {
		c.state = stateProxy
	} else {
		l.admit(c)
	}
	return c
}

// takeIn makes c one of the loop's.
func (l *loop) takeIn(c *conn) {
	c.gc.SetContext(c)
	l.conns++
	limitUnsent(c.gc.Fd(), notSentLowatBytes)
}

// notSentLowatBytes is the unsent data a socket may hold before the kernel takes no more (tcp(7)):
// what waits longer waits here, as a position. Less would have a conn with a long round trip wait for
// us between two windows.
const notSentLowatBytes = 16 << 10

func (l *loop) refuse(c *conn, r CloseReason, e *httpError) {
	if l.lingering >= maxLingering {
		c.abort(r)
		return
	}
	l.lingering++
	c.refused = true
	c.respondError(r, e)
}

// onClose is the end of every conn, whatever closed it.
func (l *loop) onClose(c *conn) {
	c.endWith(ReasonPeerGone)
	c.unsubscribe()
	l.wheel.disarm(c)
	if c.state == stateClosing {
		l.closing--
	}
	c.state = stateClosed
	c.open = nil
	if c.refused {
		l.lingering--
	}
	if c.admitted {
		l.server.gate.Release(c.address())
	}
	e := ended{client: c.client(), past: c.past, closed: l.wheel.now, reason: c.reason}
	if w := c.who(); w != nil {
		e.identity = w.subject
		c.forgetWho()
	}
	l.history.add(e)
	if c.aside&asideClient != 0 {
		delete(l.proxied, c)
	}
	c.forgetCarried()
	l.conns--
	l.countTLS(c, -1)
	l.server.conns.Add(-1)
	l.stats.closed[c.reason].Add(1)
}

// recentLag is the most that the loop was late with its ticks of late: with all it does.
type recentLag struct{ now, before time.Duration }

func (g *recentLag) note(late time.Duration) { g.now = max(g.now, late) }

// turn begins another second.
func (g *recentLag) turn() { g.now, g.before = 0, g.now }

// most is the most in this second and the one before.
func (g *recentLag) most() time.Duration { return max(g.now, g.before) }

// onTick is called every tick, so late after its time.
func (l *loop) onTick(late time.Duration) {
	l.recent.note(late)
	if l.frozen {
		return
	}
	l.wheel.advance((*conn).expired)
	if l.sinceUp++; l.sinceUp >= int(time.Second/tick) {
		l.sinceUp = 0
		l.shard.Tick()
		l.recent.turn()
	}
	if l.shard.DrainAll() {
		l.run()
	}
	l.balance()
	l.stats.behind.Store(int64(l.shard.Behind()))
	l.stats.skipped.Store(l.shard.Skipped())
	l.stats.subscriptions.Store(int64(l.shard.Subscriptions()))
	l.stats.stalls.Store(l.shard.Stalls())
	if l.draining {
		l.drain()
	}
}
