package http1

import (
	"bytes"
	"errors"
	"sync/atomic"
)

// preface begins a conn of HTTP/2 (RFC 9113 section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Screen holds the bytes of one client to this package's strictness before a server that tolerates more,
// such as net/http, gets them. It keeps no bytes: what it does not let through yet the caller keeps, and
// offers again with what comes. Set the fields before the first Feed.
type Screen struct {
	Limits Limits
	// MaxBodyBytes bounds the payload of each request; 0 is no bound.
	MaxBodyBytes int64
	// AllowHTTP2 lets through everything of a conn that begins with HTTP/2's preface. Otherwise that is
	// [ErrVersion].
	AllowHTTP2 bool

	request  Request
	body     Body
	begun    bool // a head was let through
	http2    bool
	err      error
	switched atomic.Bool
}

// Feed says how many bytes at the start of b may pass: heads that are right and whole, and what of
// their bodies has come. b begins where the last Feed's pass ended. A head that is not whole is held, for which
// the caller needs room for MaxHeadBytes. On an error, whose status [StatusOf] has, pass bytes are still
// good and nothing after them ever is: it is returned from then on.
func (s *Screen) Feed(b []byte) (pass int, err error) {
	for pass < len(b) && s.err == nil {
		n := 0
		switch {
		case s.http2 || s.switched.Load():
			return len(b), nil
		case s.body.Done():
			if n = s.head(b[pass:]); n == 0 {
				return pass, s.err
			}
		default:
			n, _, s.err = s.body.Skip(b[pass:])
		}
		pass += n
	}
	return pass, s.err
}

// head is the length of the head at the start of b, 0 while it is not whole or if it is wrong.
func (s *Screen) head(b []byte) int {
	if !s.begun && s.AllowHTTP2 && bytes.HasPrefix([]byte(preface), b[:min(len(b), len(preface))]) {
		if s.http2 = len(b) >= len(preface); s.http2 {
			return len(preface)
		}
		return 0
	}
	n, err := s.request.Parse(b, s.Limits)
	if err == nil {
		s.body.Start(s.request.Framing(), s.request.ContentLength, s.MaxBodyBytes)
		err = s.body.err
	}
	if err != nil {
		if !errors.Is(err, ErrShort) {
			s.err = err
		}
		return 0
	}
	s.begun = true
	return n
}

// HTTP2 reports whether the conn turned out to be one of HTTP/2.
func (s *Screen) HTTP2() bool { return s.http2 }

// Switched says that the server has agreed to change to another protocol: everything passes from then on. Say
// so before the client can know, which is before the 101 is written. Any goroutine may.
func (s *Screen) Switched() { s.switched.Store(true) }

// InBody reports whether an error of [Screen.Feed] is of a body, whose head has passed.
func (s *Screen) InBody() bool { return !s.body.Done() }
