package proxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"

	"weir/edge/http1"
	"weir/gateway/access"
	"weir/gateway/policy"
)

// ScreenConfig is what a [Screen] bounds.
type ScreenConfig struct {
	// MaxHeadBytes and MaxFields bound a request's head.
	MaxHeadBytes, MaxFields int
}

// Screen is a conn of which net/http gets only what parses strictly. It is for one server, whose handler has to be wrapped by
// [Screened], and whose ConnContext has to be [ConnContext].
//
// A head that is refused is replaced by a request that [Handler.Screened] answers with what is wrong: so the answer comes
// after those to the requests before it, which net/http has still to write.
type Screen struct {
	net.Conn
	tls     *tls.ConnectionState
	refused atomic.Pointer[refusal]

	// The rest is of whoever reads: net/http does from one goroutine at a time.
	screen http1.Screen
	held   []byte // what came and did not pass yet
	passed []byte // what passed and was not read yet
	ended  error
}

// refusal is why a head did not pass, and the name of the request that stands for it, which nobody else knows.
type refusal struct {
	name string
	why  error
}

// NewScreen returns conn, screened. state is that of its TLS, nil without.
func NewScreen(conn net.Conn, cfg ScreenConfig, state *tls.ConnectionState) *Screen {
	s := &Screen{Conn: conn, tls: state}
	s.screen.Limits = http1.Limits{MaxHeadBytes: cfg.MaxHeadBytes, MaxFields: cfg.MaxFields, AllowHTTP10: true, AllowAbsolute: true}
	s.screen.AllowHTTP2 = state == nil // over TLS it is agreed on there
	return s
}

// readBytes is how much is read at once.
const readBytes = 16 << 10

// Read implements [net.Conn].
func (s *Screen) Read(p []byte) (int, error) {
	for len(s.passed) == 0 {
		if s.ended != nil {
			return 0, s.ended
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.passed)
	s.passed = s.passed[n:]
	return n, nil
}

// fill reads once, and has what may pass be passed.
func (s *Screen) fill() error {
	if s.refused.Load() != nil {
		return s.discard()
	}
	if cap(s.held)-len(s.held) < readBytes/4 {
		s.held = append(make([]byte, 0, len(s.held)+readBytes), s.held...)
	}
	n, err := s.Conn.Read(s.held[len(s.held):cap(s.held)])
	if n == 0 && err != nil {
		if len(s.held) == 0 {
			s.held = nil
		}
		return err
	}
	s.held = s.held[:len(s.held)+n]
	pass, bad := s.screen.Feed(s.held)
	s.passed, s.held = s.held[:pass:pass], s.held[pass:]
	if bad == nil {
		return nil
	}
	if s.screen.InBody() { // whoever reads the body is told
		s.ended = bad
		return nil
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	r := &refusal{"/refused/" + hex.EncodeToString(b[:]), bad}
	s.refused.Store(r)
	s.held = nil
	s.passed = append(s.passed, "GET "+r.name+" HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n"...)
	return nil
}

// switched says that the conn of a request is about to change to another protocol.
func switched(ctx context.Context) {
	if s, ok := ctx.Value(screenKey{}).(*Screen); ok {
		s.screen.Switched()
	}
}

// discard reads what comes behind a head that was refused: an error here would end requests before it, which are still being
// answered. net/http closes the conn with the answer to the refused one.
func (s *Screen) discard() error {
	if s.held == nil {
		s.held = make([]byte, readBytes)
	}
	_, err := s.Conn.Read(s.held)
	return err
}

type screenKey struct{}

// ConnContext is for [http.Server.ConnContext].
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if s, ok := c.(*Screen); ok {
		ctx = context.WithValue(ctx, screenKey{}, s)
		c = s.Conn
	}
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if o, ok := c.(interface{ Owner() *Owner }); ok {
		ctx = context.WithValue(ctx, ownerKey{}, o.Owner())
	}
	return ctx
}

// Screened is the handler of conns that may be screened.
func (h *Handler) Screened() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, ok := r.Context().Value(screenKey{}).(*Screen)
		if !ok {
			h.ServeHTTP(w, r)
			return
		}
		if refused := s.refused.Load(); refused != nil && r.RequestURI == refused.name {
			h.malformed(w, r, refused.why)
			return
		}
		r.TLS = s.tls
		h.ServeHTTP(w, r)
	})
}

// malformed answers a request whose head was refused.
func (h *Handler) malformed(w http.ResponseWriter, r *http.Request, why error) {
	status := http1.StatusOf(why)
	w.Header().Set("Connection", "close")
	problem(w, status, policy.AppendProblem(nil, status, why.Error()))
	_, remote := addresses(r)
	h.Malformed(remote.Addr().Unmap(), status, why)
}

// Malformed tells of a head that was refused.
func (h *Handler) Malformed(client netip.Addr, status int, why error) {
	if h.hooks.Observe != nil {
		h.hooks.Observe(&access.Record{Begun: h.wall(), Outcome: policy.Malformed, Status: status, Proto: "HTTP/1.1", Client: client, Err: why})
	}
}
