package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/gateway/policy"
	"weir/gateway/upstream"
	"weir/gateway/way"
	"weir/ratelimit"
)

// Config configures a [Handler].
type Config struct {
	// IdentityField tells upstreams who a request is from; what a client sends in it is left out. Default
	// X-Weir-Identity.
	IdentityField string
}

// Handler sends requests to upstreams.
type Handler struct {
	cfg     Config
	hooks   way.Hooks
	current atomic.Pointer[way.Generation]
	reverse *httputil.ReverseProxy
	epoch   time.Time
	wall    func() time.Time
}

// New returns a Handler, which serves by a [way.Generation].
func New(cfg Config, g *way.Generation, hooks way.Hooks, log *slog.Logger) *Handler {
	if cfg.IdentityField == "" {
		cfg.IdentityField = "X-Weir-Identity"
	}
	h := &Handler{cfg: cfg, hooks: hooks, epoch: time.Now(), wall: time.Now}
	h.current.Store(g)
	h.reverse = &httputil.ReverseProxy{
		Rewrite:        h.rewrite,
		Transport:      h,
		ModifyResponse: h.answer,
		ErrorHandler:   h.fail,
		BufferPool:     &buffers{},
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return h
}

// Replace has requests that come from now on served by another Generation, and returns the one before.
func (h *Handler) Replace(g *way.Generation) *way.Generation { return h.current.Swap(g) }

// Now is the clock of the rules, ticks. It begins a day ahead, so that nobody owes anything at its begin.
func (h *Handler) Now() uint64 { return h.Ticks(h.wall()) }

// Ticks is that clock at a time.
func (h *Handler) Ticks(at time.Time) uint64 {
	return uint64(at.Sub(h.epoch)+24*time.Hour) * ratelimit.TicksPerNano //nolint:gosec // not negative
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	g := h.current.Load()
	c := newCall(h, in)
	local, remote := addresses(in)
	c.request = policy.Request{
		Method: in.Method, Host: in.Host, Path: pathOf(in), Fields: fields(in.Header), Peer: remote.Addr(), ContentLength: in.ContentLength,
	}
	r := &c.record
	r.Method, r.Host, r.Path, r.Proto = in.Method, in.Host, c.request.Path, in.Proto
	r.RequestID = h.requestID(g, in, remote.Addr())
	r.TLS = in.TLS != nil
	ctx := in.Context()
	now := h.Now()
	o := g.Rules.Begin(now, &c.request, &c.exchange)
	if o == policy.Ask {
		o = c.exchange.Ask(ctx)
	}
	x := &c.exchange
	r.SetDecision(o, x)
	if h.hooks.Trace != nil {
		h.hooks.Trace(r, c.request.Fields, x.Trusted())
		if r.Trace.On() {
			r.TraceID = string(r.Trace.ID())
		}
	}
	w := &writer{ResponseWriter: out, call: c, control: http.NewResponseController(out), idle: idleOf(x)}
	c.out = w
	defer h.end(ctx, c, w)
	h.bind(in.Context(), x, local, remote)
	if h.hooks.Decided != nil {
		h.hooks.Decided(now, x, o, remote)
	}
	w.Header().Set("X-Request-Id", r.RequestID)
	if o != policy.Admitted {
		h.refuse(w, c, o)
		return
	}
	c.up = g.Upstream(x.Route)
	h.forward(ctx, w, c)
}

// forward sends the request on, and its answer back.
func (h *Handler) forward(ctx context.Context, w *writer, c *call) {
	route := c.exchange.Route
	ctx, c.cancel = context.WithCancelCause(context.WithValue(ctx, callKey{}, c))
	defer c.cancel(nil)
	cancel := c.cancel
	c.headTimer = time.AfterFunc(route.Timeout, func() { cancel(errAnswerLate) })
	defer c.headTimer.Stop()
	in := c.in.WithContext(ctx)
	c.in = in
	if hasBody(in) {
		c.lingers = true                 // the transport may go on reading it when the answer has come
		_ = w.control.EnableFullDuplex() // of HTTP/2 it is so already
		in.Body = &requestBody{call: c, body: in.Body, control: w.control, left: route.MaxBody, idle: route.IdleTimeout}
	}
	h.reverse.ServeHTTP(w, in)
}

// end ends a call, also when its answer was broken off. ctx is the request's own, which ends early if the client goes.
func (h *Handler) end(ctx context.Context, c *call, w *writer) {
	r := &c.record
	p := recover()
	now := h.wall()
	r.Status, r.Received, r.Sent, r.Total, r.Err = w.status, c.received.Load(), c.sent.Load(), now.Sub(c.begun), c.err
	if cut := c.cut.Load(); cut != nil && r.Err == nil {
		r.Err = *cut
	}
	r.Cut = p != nil || c.cut.Load() != nil || r.Status == 0
	r.Gone = w.gone || ctx.Err() != nil && (r.Cut || r.Err != nil)
	r.Cut = r.Cut || r.Gone
	if !c.asked.IsZero() && !c.answered.IsZero() {
		r.Upstream = c.answered.Sub(c.asked)
	}
	if !w.first.IsZero() {
		r.Added = w.first.Sub(c.begun) - r.Upstream
	}
	if r.Outcome == policy.Admitted {
		c.exchange.End(h.Now(), r.Received, r.Sent)
	}
	c.trying.Lock()
	c.ended = true
	c.trying.Unlock()
	if h.hooks.Observe != nil {
		h.hooks.Observe(r)
	}
	if p != nil { // the answer is broken off: net/http closes the conn. The call is not used again
		panic(p)
	}
	c.free()
}

// refuse answers in place of an upstream.
func (h *Handler) refuse(w *writer, c *call, o policy.Outcome) {
	x := &c.exchange
	c.scratch = x.AppendTold(c.scratch[:0])
	c.scratch = x.AppendRefusal(c.scratch, o, mathrand.Uint32()) //nolint:gosec // it spreads clients, and is no secret
	setLines(w.Header(), c.scratch)
	c.scratch = x.AppendBody(c.scratch[:0], o)
	problem(w, o.Status(), c.scratch)
}

func problem(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", policy.ContentType)
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went needs no answer
}

// setLines sets the fields of a head's lines.
func setLines(h http.Header, lines []byte) {
	for len(lines) > 0 {
		line, rest, _ := bytes.Cut(lines, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(": "))
		h.Set(string(name), string(value))
		lines = rest
	}
}

// answer is ReverseProxy's ModifyResponse.
func (h *Handler) answer(res *http.Response) error {
	c, _ := res.Request.Context().Value(callKey{}).(*call) //nolint:errcheck // requests come from ServeHTTP alone
	c.scratch = c.exchange.AppendTold(c.scratch[:0])
	if len(c.scratch) > 0 { // an upstream's own would be read as ours
		for name := range res.Header {
			if strings.HasPrefix(name, "Ratelimit") || strings.HasPrefix(name, "X-Ratelimit-") {
				delete(res.Header, name)
			}
		}
		setLines(res.Header, c.scratch)
	}
	res.Header.Del("X-Request-Id") // it is set already
	if res.StatusCode == http.StatusSwitchingProtocols {
		c.out.note(res.StatusCode)
		switched(res.Request.Context())
	}
	return nil
}

// fail is ReverseProxy's ErrorHandler.
func (h *Handler) fail(out http.ResponseWriter, in *http.Request, err error) {
	c, _ := in.Context().Value(callKey{}).(*call) //nolint:errcheck // requests come from ServeHTTP alone
	if c.err == nil || !errors.Is(err, context.Canceled) {
		c.err = err
	}
	status, detail := http.StatusBadGateway, "the upstream gave no answer that can be read"
	cause := context.Cause(in.Context())
	netErr, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(cause, errAnswerLate):
		c.err, status, detail = cause, http.StatusGatewayTimeout, "the upstream did not answer in time"
	case errors.Is(cause, errBodyLong), errors.Is(err, errBodyLong):
		out.Header().Set("Connection", "close")
		c.err, status, detail = nil, http.StatusRequestEntityTooLarge, errBodyLong.Error()
		c.record.Outcome = policy.TooLarge
		c.exchange.End(h.Now(), c.received.Load(), c.sent.Load())
	case errors.Is(err, upstream.ErrNone), errors.Is(err, upstream.ErrFull):
		status, detail = http.StatusServiceUnavailable, "no upstream server has room for the request"
		out.Header().Set("Retry-After", "1")
	case c.broken.Load():
		out.Header().Set("Connection", "close") // where its next request begins nobody knows
		status, detail = http.StatusBadRequest, "the body of the request cannot be read"
	case isNet && netErr.Timeout():
		status, detail = http.StatusGatewayTimeout, "the upstream did not answer in time"
	}
	c.scratch = c.exchange.AppendTold(c.scratch[:0])
	setLines(out.Header(), c.scratch)
	problem(out, status, policy.AppendProblem(c.scratch[:0], status, detail))
}

// buffers are those by which ReverseProxy copies.
type buffers struct{ pool sync.Pool }

const bufferBytes = 32 << 10

// Get implements [httputil.BufferPool].
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[bufferBytes]byte); ok {
		return p[:]
	}
	return make([]byte, bufferBytes)
}

// Put implements [httputil.BufferPool].
func (b *buffers) Put(p []byte) {
	if len(p) == bufferBytes {
		b.pool.Put((*[bufferBytes]byte)(p))
	}
}

// idleOf is how long a body of an exchange may not move.
func idleOf(x *policy.Exchange) time.Duration {
	if x.Route == nil {
		return time.Minute
	}
	return x.Route.IdleTimeout
}

// addresses are both ends of a request's conn.
func addresses(in *http.Request) (local, remote netip.AddrPort) {
	remote, _ = netip.ParseAddrPort(in.RemoteAddr) //nolint:errcheck // it is one of net's
	if a, ok := in.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		local, _ = netip.ParseAddrPort(a.String()) //nolint:errcheck // it is one of net's
	}
	return local, remote
}

// pathOf is the path as it came.
func pathOf(in *http.Request) string {
	if in.URL.RawPath != "" {
		return in.URL.RawPath
	}
	path, _, _ := strings.Cut(in.RequestURI, "?")
	if strings.HasPrefix(path, "/") || path == "*" {
		return path
	}
	if in.URL.Path == "" { // http://host
		return "/"
	}
	return in.URL.EscapedPath()
}

// requestID is that of a trusted proxy, or a new one.
func (h *Handler) requestID(g *way.Generation, in *http.Request, peer netip.Addr) string {
	if id := in.Header.Get("X-Request-Id"); id != "" && len(id) <= 128 && g.Rules.TrustsProxy(peer) {
		return id
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

var _ io.ReadWriteCloser = (*upgraded)(nil)
