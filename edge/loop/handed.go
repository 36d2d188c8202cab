package loop

import (
	"net/netip"
	"time"

	"weir/broker"
	"weir/edge/hub"
	"weir/edge/ws"
)

// handed is a conn on its way to the process that goes on, beside its descriptor.
type handed struct {
	State connState
	// Kernel says that its TLS records are made in the kernel. No others go over.
	Kernel bool
	// Client is whom a PROXY header named, if one did.
	Client netip.AddrPort
	Who    *handedWho
	// Carry is what was read of it and not used: a part of a frame or of a request.
	Carry   []byte
	Decoder ws.DecoderState
	Places  []hub.Place
	Opening *handedOpening
	Echo    *handedEcho
	Pinged  bool
	Pending uint32 // see conn
	Age     time.Duration
	Skipped uint32
	Falls   [causes]uint16
}

// handedWho is whom its token names. Which topics that allows was asked when it was opened.
type handedWho struct {
	Subject, Class string
	Until          int64
}

// handedOpening is a request whose topics were being opened.
type handedOpening struct {
	Variant            hub.Variant
	Stream             bool
	Key                []byte
	Origin, Extensions string
	Protocol           string
	WindowBits         uint8
	Topics             []broker.Pattern
	Since              []broker.Position
}

// handedEcho is a message that /echo has a part of.
type handedEcho struct {
	Op         ws.OpCode
	Compressed bool
	Part       []byte
	Valid      int
}

// hand is c as it stands. Its loop's shard is frozen.
func (c *conn) hand() handed {
	h := handed{
		State: c.state, Kernel: c.tls == inKernel, Decoder: c.decoder.State(), Pinged: c.pinged, Pending: c.pending,
		Age: c.loop.since(c.past.opened), Skipped: c.past.skipped, Falls: c.past.falls,
	}
	if c.aside&asideClient != 0 {
		h.Client = c.loop.proxied[c]
	}
	if w := c.who(); w != nil {
		h.Who = &handedWho{w.subject, w.class, w.until}
	}
	if c.buffered() > 0 {
		h.Carry = append(h.Carry, c.peek()...)
	}
	if o := c.open; c.state == stateOpening {
		h.Opening = &handedOpening{
			Variant: o.variant, Stream: o.stream, Key: o.key, Origin: o.origin, Protocol: o.protocol,
			Extensions: o.deflate.answer, WindowBits: o.deflate.windowBits, Topics: o.topics, Since: o.since,
		}
	} else {
		for s := range c.subs() {
			h.Places = append(h.Places, s.Place())
		}
	}
	if o := c.open; o != nil && o.echo != nil {
		e := o.echo
		h.Echo = &handedEcho{e.op, e.compressed, e.buf, e.valid}
	}
	return h
}

// adopt makes of c what it was in the process before, all but its subscriptions.
func (c *conn) adopt(h *handed) {
	l := c.loop
	c.state, c.pinged, c.pending = h.State, h.Pinged, h.Pending
	c.decoder.Restore(h.Decoder)
	c.past = past{opened: l.wheel.now - uint32(h.Age/tick), skipped: h.Skipped, falls: h.Falls} //nolint:gosec // wraps on purpose
	if h.Kernel {
		c.tls = inKernel
		l.countTLS(c, 1)
	}
	if h.Client.IsValid() {
		l.proxied[c] = h.Client
		c.aside |= asideClient
	}
	if w := h.Who; w != nil {
		l.server.identities.Adopt(w.Subject)
		c.identify(&who{subject: w.Subject, class: w.Class, until: w.Until})
	}
	if len(h.Carry) > 0 {
		l.carried[c] = h.Carry
		c.aside |= asideBytes
	}
	if h.Echo != nil {
		c.open = &opening{echo: &echo{op: h.Echo.Op, compressed: h.Echo.Compressed, buf: h.Echo.Part, valid: h.Echo.Valid}}
	}
	if h.State != stateProxy {
		l.server.gate.Adopt(c.address())
		c.admitted = true
	}
	switch {
	case h.State < stateMessages:
		l.wheel.arm(c, l.cfg.HandshakeTimeout)
	case h.Pinged:
		c.arm(l.cfg.PongTimeout)
	default:
		c.armPing()
	}
}

// goOn subscribes c to what it was subscribed to, from where it stood.
func (c *conn) goOn(h *handed) {
	if o := h.Opening; o != nil {
		c.subscribe(&opening{
			variant: o.Variant, stream: o.Stream, key: o.Key, origin: o.Origin, protocol: o.Protocol,
			deflate: agreement{o.Extensions, o.WindowBits}, topics: o.Topics, since: o.Since,
		})
		return
	}
	if c.state == stateHead && len(h.Carry) > 0 {
		c.readHead() // it may be whole, its token not checked yet
		return
	}
	for _, p := range h.Places {
		sub, ready, err := c.loop.shard.Adopt(c, p)
		if err != nil {
			c.closeWith(ReasonSubscribeFailed, closeTryLater, err.Error())
			return
		}
		c.addSub(sub)
		if ready {
			c.loop.shard.Start(sub)
		}
		if c.state == stateClosed {
			return
		}
	}
}
