package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"weir/gateway/upstream"
	"weir/gateway/way"
)

// Errors of a call, as its log has them.
var (
	errAnswerLate = errors.New("no answer in the route's time")
	errIdle       = errors.New("the body did not move for the route's idle time")
	errBodyLong   = errors.New("the body is longer than the route takes")
)

// RoundTrip sends a request of a call to a server of its pool, and to another one if that may be.
func (h *Handler) RoundTrip(out *http.Request) (*http.Response, error) {
	c, _ := out.Context().Value(callKey{}).(*call) //nolint:errcheck // requests come from ServeHTTP alone
	var tried upstream.Tried
	c.asked = h.wall()
	for c.record.Attempts = 1; ; c.record.Attempts++ {
		server, err := c.up.Pool.Pick(h.wall(), way.HashKey(&c.exchange), &tried)
		if err != nil {
			if c.err != nil { // what the one before said says more
				return nil, c.err
			}
			return nil, err
		}
		a := &attempt{call: c, server: server, begun: h.wall()}
		c.record.Server = server.Address()
		c.record.Try(a.begun, c.record.Server)
		res, err := c.up.Transport.RoundTrip(c.to(out, server))
		c.answered = h.wall()
		if res != nil {
			c.record.Answered(res.StatusCode)
		}
		o := outcomeOf(out.Context(), res, err)
		if err != nil && c.broken.Load() {
			o = upstream.Canceled // the transport tells of what follows from that
		}
		if c.mayRetry(o, res) {
			if res != nil {
				_, _ = io.CopyN(io.Discard, res.Body, drainBytes) // so that the conn may be used again; that fails if it may not
				_ = res.Body.Close()
			}
			c.err = err
			a.end(c.answered, o)
			continue
		}
		if err != nil {
			a.end(c.answered, o)
			return nil, err
		}
		c.headTimer.Stop()
		res.Body = c.watch(res, a, o)
		return res, nil
	}
}

// drainBytes is how much of an answer that is not sent on is read.
const drainBytes = 4 << 10

// to is the request for one server.
func (c *call) to(out *http.Request, server *upstream.Server) *http.Request {
	r := *out
	u := *out.URL
	u.Scheme, u.Host = c.up.Scheme, server.Address()
	r.URL = &u
	if !c.exchange.Route.KeepHost {
		r.Host = server.Name()
	}
	if r.Body != nil {
		r.Body = keptOpen{r.Body}
	}
	if t := &c.record.Trace; t.Sampled() {
		r.Header = out.Header.Clone() // the transport may have that of an attempt before
		r.Header.Set("Traceparent", string(t.Parentage()))
	}
	return &r
}

// keptOpen is a body that an attempt does not close: one that could not connect would, and another is to send it.
// ReverseProxy closes it in the end.
type keptOpen struct{ io.Reader }

// Close implements [io.Closer].
func (keptOpen) Close() error { return nil }

// mayRetry reports whether an attempt that ended so may be followed by another one.
func (c *call) mayRetry(o upstream.Outcome, res *http.Response) bool {
	switch o {
	case upstream.ConnectFailed:
		if c.touched.Load() {
			return false
		}
	case upstream.Broken, upstream.GatewayError:
		if hasBody(c.in) || !way.IsIdempotent(c.in.Method) || res != nil && res.StatusCode == http.StatusSwitchingProtocols {
			return false
		}
	default:
		return false
	}
	return c.record.Attempts < c.up.Pool.Attempts() && c.in.Context().Err() == nil && c.up.Pool.MayRetry(c.handler.wall())
}

// outcomeOf is what an attempt's end says of the server.
func outcomeOf(ctx context.Context, res *http.Response, err error) upstream.Outcome {
	if err == nil {
		return upstream.OutcomeOf(res.StatusCode)
	}
	var netErr net.Error
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errAnswerLate):
		return upstream.TimedOut
	case cause != nil, errors.Is(err, errBodyLong):
		return upstream.Canceled
	}
	if _, ok := errors.AsType[*way.ConnectError](err); ok {
		return upstream.ConnectFailed
	}
	if errors.As(err, &netErr) && netErr.Timeout() {
		return upstream.TimedOut
	}
	return upstream.Broken
}

// watch has the answer's body end the attempt, and the call if it does not move.
func (c *call) watch(res *http.Response, a *attempt, o upstream.Outcome) io.ReadCloser {
	w := &watched{call: c, attempt: a, outcome: o, body: res.Body, idle: c.exchange.Route.IdleTimeout}
	cancel, body := c.cancel, res.Body
	w.timer = time.AfterFunc(w.idle, func() { cancel(errIdle); _ = body.Close() })
	if rw, ok := res.Body.(io.ReadWriteCloser); ok && res.StatusCode == http.StatusSwitchingProtocols {
		c.lingers = true
		return &upgraded{w, rw}
	}
	return w
}

// watched is the body of an answer.
type watched struct {
	call    *call
	attempt *attempt
	outcome upstream.Outcome
	body    io.ReadCloser
	timer   *time.Timer
	idle    time.Duration
}

// Read implements [io.Reader].
func (w *watched) Read(b []byte) (int, error) {
	n, err := w.body.Read(b)
	switch {
	case err == nil:
		w.timer.Reset(w.idle)
	case errors.Is(err, io.EOF):
		w.timer.Stop()
		w.attempt.end(w.call.handler.wall(), w.outcome)
	default:
		w.timer.Stop()
		o := upstream.Broken
		if cause := context.Cause(w.call.in.Context()); cause != nil && !errors.Is(cause, errIdle) {
			o = upstream.Canceled
		}
		w.attempt.end(w.call.handler.wall(), o)
		w.call.cut.Store(&err)
	}
	return n, err
}

// Close implements [io.Closer].
func (w *watched) Close() error {
	w.timer.Stop()
	err := w.body.Close()
	w.attempt.end(w.call.handler.wall(), w.closed())
	return err
}

// closed is what it says of the server that an answer was not read to its end.
func (w *watched) closed() upstream.Outcome {
	if w.outcome != upstream.OK {
		return w.outcome
	}
	return upstream.Canceled
}

// upgraded is the conn of an answer that switched protocols.
type upgraded struct {
	*watched
	conn io.ReadWriteCloser
}

// Write implements [io.Writer].
func (u *upgraded) Write(b []byte) (int, error) {
	u.timer.Reset(u.idle)
	n, err := u.conn.Write(b)
	u.call.received.Add(int64(n))
	return n, err
}

// Read implements [io.Reader].
func (u *upgraded) Read(b []byte) (int, error) {
	n, err := u.watched.Read(b)
	u.call.sent.Add(int64(n))
	return n, err
}
