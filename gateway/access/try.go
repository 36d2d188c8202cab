package access

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"
)

// Try is an attempt to have a server of the upstream answer.
type Try struct {
	// Span is its own, which the server was sent.
	Span [8]byte
	// Server is the server's address, host:port.
	Server string
	Begun  time.Time
	// Took is the time until its slot at the server was free again: the answer had ended, or it was given up. Ended says that it is known.
	Took  time.Duration
	Ended bool
	// Status is that of the answer, 0 without one.
	Status int
	// Failure is why there was no whole answer; empty if there was.
	Failure string
}

// Try notes that a server is asked, of a request that is sampled: it is sent the attempt's own span in place of the request's. Of
// others nothing is noted, and nothing allocated.
func (r *Record) Try(now time.Time, server string) {
	if !r.Trace.Sampled() {
		return
	}
	t := Try{Server: server, Begun: now}
	for t.Span == [8]byte{} {
		binary.BigEndian.PutUint64(t.Span[:], rand.Uint64()) //nolint:gosec // it tells spans apart, and is no secret
	}
	hex.Encode(r.Trace.text[36:], t.Span[:])
	r.Tries = append(r.Tries, t)
}

// Answered notes the status of the last attempt's answer.
func (r *Record) Answered(status int) {
	if n := len(r.Tries); n > 0 {
		r.Tries[n-1].Status = status
	}
}

// Tried notes that the last attempt has ended; failure is why there was no whole answer, empty if there was.
func (r *Record) Tried(now time.Time, failure string) {
	if n := len(r.Tries); n > 0 {
		t := &r.Tries[n-1]
		t.Took, t.Ended, t.Failure = now.Sub(t.Begun), true, failure
	}
}
