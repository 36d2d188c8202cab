package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// errClient is wrapped by what is wrong with a client's body or conn.
var errClient = errors.New("the client's body cannot be read")

// requestBody is a client's body on its way: bounded, counted, and with a time in which it has to move.
type requestBody struct {
	call    *call
	body    io.ReadCloser
	control *http.ResponseController
	left    int64 // bytes that it may still have, below 0 for no bound
	idle    time.Duration
}

// Read implements [io.Reader].
func (b *requestBody) Read(p []byte) (int, error) {
	b.call.touched.Store(true)
	_ = b.control.SetReadDeadline(b.call.handler.wall().Add(b.idle)) // a conn without deadlines has those of its server
	n, err := b.body.Read(p)
	b.call.received.Add(int64(n))
	if b.left >= 0 {
		if b.left -= int64(n); b.left < 0 {
			b.call.cancel(errBodyLong)
			return n, errBodyLong
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		_ = b.control.SetReadDeadline(time.Time{}) // or the server takes the client to be gone while it waits for the answer
	default:
		b.call.broken.Store(true)
		err = fmt.Errorf("%w: %w", errClient, err)
	}
	return n, err
}

// Close implements [io.Closer].
func (b *requestBody) Close() error { return b.body.Close() }

// writer is the answer on its way: counted, and with a time in which the client has to take it.
type writer struct {
	http.ResponseWriter
	call    *call
	control *http.ResponseController
	idle    time.Duration
	status  int
	first   time.Time // when the head was written
	gone    bool      // the client does not take it
}

// Unwrap is for [http.ResponseController].
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (w *writer) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.note(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) note(status int) {
	if w.status == 0 {
		w.status, w.first = status, w.call.handler.wall()
		_ = w.control.SetWriteDeadline(w.first.Add(w.idle)) // a conn without deadlines has those of its server
	}
}

// Write implements [io.Writer].
func (w *writer) Write(b []byte) (int, error) {
	w.note(http.StatusOK)
	_ = w.control.SetWriteDeadline(w.call.handler.wall().Add(w.idle)) // a conn without deadlines has those of its server
	n, err := w.ResponseWriter.Write(b)
	w.call.sent.Add(int64(n))
	w.gone = w.gone || err != nil
	return n, err
}
