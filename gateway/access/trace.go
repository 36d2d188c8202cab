package access

import "encoding/hex"

// traceparent is how long a traceparent of version 00 is: W3C Trace Context, section 3.2.
const traceparent = 55

// Trace is what a request is traced as. The zero value is not traced at all.
type Trace struct {
	// text is 00-TRACE-SPAN-FLAGS, as it is sent on: the span is the request's, or the attempt's that is under way.
	text [traceparent]byte
	span [8]byte // the request's
	// Parent is the span that the request comes from, 0 if the trace begins with it.
	Parent [8]byte
	// Continued says that a trace of the client's goes on: its tracestate and baggage are sent on.
	Continued bool
	// State is its tracestate, lent as the head is.
	State string
}

// Begin has the request traced as a span. Nothing is allocated.
func (t *Trace) Begin(id [16]byte, span [8]byte, sampled bool) {
	t.span = span
	copy(t.text[:], "00-")
	hex.Encode(t.text[3:], id[:])
	t.text[35] = '-'
	hex.Encode(t.text[36:], span[:])
	copy(t.text[52:], "-00")
	if sampled {
		t.text[54] = '1'
	}
}

// On reports whether the request is traced: [Trace.Parentage] is sent to the upstream in place of the client's.
func (t *Trace) On() bool { return t.text[0] != 0 }

// Sampled reports whether it has a span.
func (t *Trace) Sampled() bool { return t.text[traceparent-1] == '1' }

// Parentage is the traceparent for the upstream, lent as t is.
func (t *Trace) Parentage() []byte { return t.text[:] }

// ID is the trace's, as text, lent as t is.
func (t *Trace) ID() []byte { return t.text[3:35] }

// IDs are those of the trace and of the request's span, of one that is on.
func (t *Trace) IDs() (id [16]byte, span [8]byte) {
	_, _ = hex.Decode(id[:], t.text[3:35]) // Begin wrote it
	return id, t.span
}
