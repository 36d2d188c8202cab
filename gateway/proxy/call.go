package proxy

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"weir/gateway/access"
	"weir/gateway/policy"
	"weir/gateway/upstream"
	"weir/gateway/way"
)

// call is one request on its way.
type call struct {
	handler  *Handler
	up       *way.Upstream
	exchange policy.Exchange
	request  policy.Request
	record   access.Record

	in     *http.Request
	out    *writer
	begun  time.Time
	cancel context.CancelCauseFunc
	// headTimer ends the call if no head of an answer has come.
	headTimer *time.Timer
	// asked is when the upstream was first asked, answered when the head of its answer had come.
	asked, answered time.Time
	received, sent  atomic.Int64
	// touched says that a part of the request's body was read.
	touched atomic.Bool
	// broken says that the client's body could not be read.
	broken atomic.Bool
	// cut is why an answer's body broke off, for whatever goroutine read it.
	cut atomic.Pointer[error]
	err error
	// lingers says that goroutines may still have it when it has ended, so that it is not used again.
	lingers bool
	// trying is of the record's tries, once there is an answer, and of ended: that they are told of.
	trying  sync.Mutex
	ended   bool
	scratch []byte
	shard   uint32 // of what is counted; sync.Pool keeps calls by CPU
}

type callKey struct{}

// fields are a request's, as the rules read them.
type fields http.Header

// At implements [policy.Fields].
func (f fields) At(name string, i int) (string, bool) {
	v := f[name]
	if i >= len(v) {
		return "", false
	}
	return v[i], true
}

var (
	calls     = sync.Pool{New: func() any { return &call{shard: callsMade.Add(1)} }}
	callsMade atomic.Uint32
)

// newCall is a call without a trace of the one before.
func newCall(h *Handler, in *http.Request) *call {
	c, _ := calls.Get().(*call) //nolint:errcheck // there is nothing else in it
	policies, tries := c.record.Policies[:0], c.record.Tries[:0]
	c.handler, c.in, c.begun = h, in, h.wall()
	c.exchange.Shard = c.shard
	c.record = access.Record{Shard: c.shard, Begun: c.begun, Policies: policies, Tries: tries}
	c.up, c.cancel, c.headTimer, c.err, c.lingers, c.ended = nil, nil, nil, nil, false, false
	c.asked, c.answered = time.Time{}, time.Time{}
	c.received.Store(0)
	c.sent.Store(0)
	c.touched.Store(false)
	c.broken.Store(false)
	c.cut.Store(nil)
	return c
}

func (c *call) free() {
	if c.lingers {
		return
	}
	c.in, c.out, c.handler, c.up, c.cancel, c.headTimer, c.request.Fields = nil, nil, nil, nil, nil, nil, nil
	calls.Put(c)
}

// tried notes that an attempt has ended, unless the call has before: goroutines of an upgrade may be behind.
func (c *call) tried(now time.Time, o upstream.Outcome) {
	if !c.record.Trace.Sampled() {
		return
	}
	c.trying.Lock()
	defer c.trying.Unlock()
	if !c.ended {
		c.record.Tried(now, o.Failure())
	}
}

// hasBody reports whether a request has a body, which is gone once it was sent.
func hasBody(r *http.Request) bool { return r.Body != nil && r.Body != http.NoBody }

// attempt is one request to one server.
type attempt struct {
	call   *call
	server *upstream.Server
	begun  time.Time
	done   atomic.Bool
}

// end says how it ended, once.
func (a *attempt) end(now time.Time, o upstream.Outcome) {
	if a.done.CompareAndSwap(false, true) {
		a.server.Done(now, o, now.Sub(a.begun))
		a.call.tried(now, o)
	}
}
