package loop

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"

	"weir/broker"
	"weir/edge/hub"
	"weir/edge/ws"
)

// begin answers a request that is allowed.
func (c *conn) begin(o *opening) {
	if o.echo != nil {
		c.startEcho(o)
		return
	}
	c.subscribe(o)
}

// subscribe opens the topics of o. The handshake is answered when all are live, so that a
// client that has its answer misses nothing published from then on.
func (c *conn) subscribe(o *opening) {
	c.state = stateOpening
	c.open = o
	for i, t := range o.topics {
		var since broker.Position
		if len(o.since) > 0 {
			since = o.since[i]
		}
		sub, ready, err := c.loop.shard.Subscribe(c, t, o.variant, since)
		if err != nil {
			c.subscribeFailed(err)
			return
		}
		if !ready {
			o.waiting++
		}
		c.addSub(sub)
	}
	if o.waiting == 0 {
		c.accept()
	}
}

func (c *conn) addSub(sub *hub.Sub) {
	if c.sub == nil {
		c.sub = sub
		return
	}
	more := append(c.others(), sub)
	c.more = &more
}

// Opened implements [hub.Conn].
func (c *conn) Opened(sub *hub.Sub, err error) {
	switch {
	case c.state != stateOpening && err != nil:
		c.closeWith(ReasonSubscribeFailed, closeTryLater, err.Error())
		return
	case c.state == stateMessages || c.state == stateStream: // it came from another process
		c.loop.shard.Start(sub)
		return
	case c.state != stateOpening:
		return
	}
	if err != nil {
		c.subscribeFailed(err)
		return
	}
	if c.open.waiting--; c.open.waiting == 0 {
		c.accept()
	}
}

func (c *conn) subscribeFailed(err error) {
	e := &httpError{status: http.StatusServiceUnavailable, text: err.Error(), header: retryAfter("1")}
	if errors.Is(err, broker.ErrBadTopic) {
		e = &httpError{status: http.StatusBadRequest, text: err.Error()}
	}
	c.respondError(ReasonSubscribeFailed, e)
}

// accept answers the handshake and starts delivery.
func (c *conn) accept() {
	o := c.open
	c.open = nil
	if o.stream {
		c.state = stateStream
		c.loop.scratch = appendStreamHead(c.loop.scratch[:0], o.origin)
	} else {
		c.upgrade(o)
	}
	c.established()
	c.write(c.loop.scratch)
	// Each step may close the conn, which takes its subscriptions away.
	if c.sub != nil {
		c.loop.shard.Start(c.sub)
	}
	for i := 0; i < len(c.others()); i++ {
		c.loop.shard.Start(c.others()[i])
	}
	if c.state == stateMessages || c.state == stateStream {
		c.onTraffic() // what came behind the request
	}
}

// upgrade makes the conn a WebSocket, and the answer to its handshake in the loop's scratch.
func (c *conn) upgrade(o *opening) {
	c.state = stateMessages
	c.decoder.Deflate, c.decoder.WindowBits = o.deflate.answer != "", o.deflate.windowBits
	c.loop.scratch = ws.AppendUpgradeResponse(c.loop.scratch[:0], o.key, o.protocol, o.deflate.answer)
}

// established counts an answered handshake and arms the first ping.
func (c *conn) established() {
	c.loop.stats.accepted.Add(1)
	if c.decoder.Deflate {
		c.loop.stats.deflating.Add(1)
	}
	c.armPing()
}

// armPing arms the conn's next ping: somewhere in the second half of the interval, so that clients
// that came together are not pinged together.
func (c *conn) armPing() {
	interval := c.loop.cfg.PingInterval
	c.arm(interval - rand.N(interval/2)) //nolint:gosec // spread needs no secrecy
}

// startEcho answers the handshake of /echo.
func (c *conn) startEcho(o *opening) {
	c.upgrade(o)
	c.open = &opening{echo: o.echo}
	c.established()
	c.write(c.loop.scratch)
	c.readFramesIfOpen()
}

func (c *conn) readFramesIfOpen() {
	if c.state == stateMessages {
		c.readFrames()
	}
}

// appendStreamHead is the head of a server-sent stream. Its body ends with the connection,
// which HTTP/1.1 allows and every EventSource takes; chunks would cost bytes an event.
func appendStreamHead(b []byte, origin string) []byte {
	b = append(b, "HTTP/1.1 200 OK\r\n"+
		"Content-Type: text/event-stream; charset=utf-8\r\n"+
		"Cache-Control: no-store\r\n"+
		"X-Accel-Buffering: no\r\n"+
		"Connection: close\r\n"...)
	if origin != "" {
		b = append(b, "Vary: Origin\r\nAccess-Control-Allow-Origin: "...)
		b = append(b, origin...)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

func quoteJSON(s string) []byte {
	q, err := json.Marshal(s)
	if err != nil { // a string always marshals
		panic(err)
	}
	return q
}
