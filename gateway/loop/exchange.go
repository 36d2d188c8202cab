package loop

import (
	"net/netip"
	"time"

	"weir/edge/http1"
	"weir/gateway/access"
	"weir/gateway/policy"
	"weir/gateway/upstream"
	"weir/gateway/way"
)

// exchange is a request and its answer, from the head of the one to the end of the other.
type exchange struct {
	x   policy.Exchange
	q   policy.Request
	rec access.Record

	head []byte // a copy, which req aliases
	req  http1.Request
	body http1.Body // the request's

	up      *way.Upstream
	server  *upstream.Server // has a slot of ours, unless nil
	attempt time.Time        // when that was taken
	tried   upstream.Tried
	conn    *origin // to it, nil while there is none

	status   int
	framing  http1.Framing // as it is sent to the client
	raw      bool          // the body is sent on framed as it comes
	answer   http1.Body
	begun    time.Time
	asked    time.Time // the first server
	answered time.Time // by the last one
	first    time.Time // the head of an answer was sent
	received int64
	sent     int64
	close    bool // the client's conn ends with it
	skipping bool // what comes of the body is thrown away

	requestID [128]byte
}

// fields are a request's, as the rules read them.
type fields http1.Request

// At implements [policy.Fields].
func (f *fields) At(name string, i int) (string, bool) {
	for _, at := range f.Fields {
		if foldEqual(at.Name, name) {
			if i == 0 {
				return view(at.Value), true
			}
			i--
		}
	}
	return "", false
}

// foldEqual compares names of fields without case.
func foldEqual(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i := range b {
		if lower(b[i]) != lower(name[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// reset makes an exchange ready for a request.
func (e *exchange) reset() {
	policies, tries := e.rec.Policies[:0], e.rec.Tries[:0]
	e.rec = access.Record{Policies: policies, Tries: tries}
	e.up, e.server, e.conn = nil, nil, nil
	e.tried = upstream.Tried{}
	e.status, e.framing, e.raw, e.close, e.skipping = 0, http1.FramingNone, false, false, false
	e.begun, e.asked, e.answered, e.first = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	e.received, e.sent = 0, 0
	e.body, e.answer = http1.Body{}, http1.Body{}
}

// describe fills in what the rules, and the record, are to know of the request.
func (e *exchange) describe(peer netip.Addr, shard uint32) {
	r := &e.req
	e.q = policy.Request{
		Method: view(r.Method), Host: view(r.Host), Path: view(r.Path), Fields: (*fields)(r), Peer: peer, ContentLength: r.ContentLength,
	}
	if r.Framing() == http1.FramingNone {
		e.q.ContentLength = 0
	}
	e.rec.Shard = shard
	e.rec.Begun, e.rec.Method, e.rec.Host, e.rec.Path, e.rec.Proto = e.begun, e.q.Method, e.q.Host, e.q.Path, "HTTP/1.1"
	if r.HTTP10 {
		e.rec.Proto = "HTTP/1.0"
	}
}

// hasBody reports whether the request has one, which is gone once it was sent.
func (e *exchange) hasBody() bool {
	return e.req.Chunked || e.req.ContentLength > 0
}
