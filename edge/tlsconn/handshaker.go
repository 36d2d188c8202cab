package tlsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"weir/internal/certificates"
)

// errNoKernelTLS is that of a kernel without CONFIG_TLS, or whose module tls is not loaded.
var errNoKernelTLS = errors.New("the kernel has no TLS (try modprobe tls)")

// Result is what became of a handshake. Its names are label values; new ones are added at the end.
type Result uint8

// The results.
const (
	ResultOK      Result = iota // a full one
	ResultResumed               // by a ticket
	ResultFailed                // by an alert, garbage, or the client's end
	ResultTimeout               // not done in time
	ResultRefused               // too many under way, and waiting
	results
)

// String is the result's label value.
func (r Result) String() string {
	return [...]string{"ok", "resumed", "failed", "timeout", "refused"}[min(r, ResultRefused)]
}

// Results are all of them, in order.
func Results() []Result {
	return []Result{ResultOK, ResultResumed, ResultFailed, ResultTimeout, ResultRefused}
}

// Stats are a Handshaker's counters since its start.
type Stats struct {
	Handshakes [results]uint64
	// KernelFailed counts conns that the kernel did not take, though it has TLS.
	KernelFailed uint64
	// Reloaded and Rejected count changes of the files of certificates, taken or not.
	Reloaded, Rejected uint64
	// Expires is when the first certificate does; zero: there is none.
	Expires time.Time
}

// Merge adds another one's: the certificate that expires first is the earlier of the two.
func (s *Stats) Merge(o *Stats) {
	for i := range s.Handshakes {
		s.Handshakes[i] += o.Handshakes[i]
	}
	s.KernelFailed += o.KernelFailed
	s.Reloaded += o.Reloaded
	s.Rejected += o.Rejected
	if s.Expires.IsZero() || !o.Expires.IsZero() && o.Expires.Before(s.Expires) {
		s.Expires = o.Expires
	}
}

// Session is what a handshake leaves.
type Session struct {
	// Records is the record layer; nil if it is in the kernel.
	Records *Records
	// Resumed is whether a ticket took the place of certificate and signature.
	Resumed bool
}

// Handshaker does the server's part of handshakes. Its methods may be called from any goroutine.
type Handshaker struct {
	certificates *certificates.Store
	base         *tls.Config
	kernel       atomic.Bool // found there until it is found missing
	log          *slog.Logger
	cpu          chan struct{}
	pool         pool

	handshakes   [results]atomic.Uint64
	kernelFailed atomic.Uint64
}

// New returns a Handshaker. The error names the file that cannot be used, and what to do.
func New(cfg Config, log *slog.Logger) (*Handshaker, error) {
	if cfg.Handshakes < 1 || cfg.Handshakes > MaxHandshakes {
		return nil, fmt.Errorf("%d handshakes at once: want 1 to %d", cfg.Handshakes, MaxHandshakes)
	}
	served, err := newCertificates(cfg, log)
	if err != nil {
		return nil, err
	}
	h := &Handshaker{
		certificates: served,
		log:          log,
		// The others are the loops': what a handshake computes is not to keep them from their sockets.
		cpu: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
	h.pool.bound = cfg.Handshakes
	h.kernel.Store(cfg.Kernel)
	h.base = &tls.Config{GetConfigForClient: h.configFor, MinVersion: tls.VersionTLS12}
	return h, nil
}

// Watch looks for other certificates until ctx ends.
func (h *Handshaker) Watch(ctx context.Context) { h.certificates.Watch(ctx) }

// Go calls f on a goroutine, at once or when another one is done. It does not, and reports false, if
// as many wait as may.
func (h *Handshaker) Go(f func()) bool {
	ok := h.pool.run(f)
	if !ok {
		h.handshakes[ResultRefused].Add(1)
	}
	return ok
}

// Wait returns when nothing is under way any more.
func (h *Handshaker) Wait() { h.pool.wait() }

// Handshake does a handshake, within the deadlines of conn; ahead is what was read of it already. It
// ends conn if ctx ends. It is called by what [Handshaker.Go] runs.
func (h *Handshaker) Handshake(ctx context.Context, conn net.Conn, ahead []byte) (Session, error) {
	s, err := h.handshake(ctx, conn, ahead)
	r := ResultOK
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		r = ResultTimeout
	case err != nil:
		r = ResultFailed
	case s.Resumed:
		r = ResultResumed
	}
	h.handshakes[r].Add(1)
	return s, err
}

func (h *Handshaker) handshake(ctx context.Context, conn net.Conn, ahead []byte) (Session, error) {
	h.cpu <- struct{}{}
	defer func() { <-h.cpu }()
	r := &Records{}
	hs := &handshake{socket: conn, cpu: h.cpu, ahead: ahead}
	defer hs.secrets.forget()
	r.wire.handshake = hs
	r.conn = tls.Server(&r.wire, h.base)
	if err := r.conn.HandshakeContext(ctx); err != nil {
		return Session{}, err
	}
	if len(hs.ahead) > 0 {
		return Session{}, errors.New("more came ahead of the handshake than a hello")
	}
	state := r.conn.ConnectionState()
	taken, err := h.toKernel(hs, state)
	if err != nil {
		return Session{}, err
	}
	r.wire.handshake = nil
	s := Session{Records: r, Resumed: state.DidResume}
	if taken {
		s.Records = nil
	}
	return s, nil
}

// toKernel hands the record layer to the kernel, if that takes it.
func (h *Handshaker) toKernel(hs *handshake, state tls.ConnectionState) (taken bool, err error) {
	if state.Version != tls.VersionTLS13 || len(hs.secrets.client) == 0 || len(hs.secrets.server) == 0 {
		return false, nil
	}
	begun, err := handOver(hs.socket, state.CipherSuite, &hs.secrets)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, errNoKernelTLS):
		if h.kernel.Swap(false) {
			h.log.Info("tls records stay in the process", "err", err)
		}
	default:
		h.kernelFailed.Add(1)
	}
	if begun {
		return false, err
	}
	return false, nil
}

// configFor is what a client is served by: the certificates of now, and if the kernel may be given the
// record layer a way to its secrets.
func (h *Handshaker) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	current := h.certificates.Current()
	w, ok := hello.Conn.(*wire)
	if !ok || !h.kernel.Load() {
		return current, nil
	}
	cfg := current.Clone()
	s := &w.handshake.secrets
	cfg.KeyLogWriter = s
	cfg.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		s.tickets++
		return h.base.EncryptTicket(state, session)
	}
	return cfg, nil
}

// Stats are the counters.
func (h *Handshaker) Stats() (s Stats) {
	for r := range h.handshakes {
		s.Handshakes[r] = h.handshakes[r].Load()
	}
	s.KernelFailed = h.kernelFailed.Load()
	s.Reloaded, s.Rejected = h.certificates.Changes()
	s.Expires = h.certificates.Expires()
	return s
}
