package tlsconn

import (
	"encoding/binary"
	"net"
	"time"
)

// recordHeaderBytes is the length of a record's header (RFC 8446 section 5.1).
const recordHeaderBytes = 5

// wire is the side of a tls.Conn that has ciphertext: the socket during the handshake, memory
// afterwards.
type wire struct {
	handshake *handshake // nil afterwards
	in, out   []byte
}

// handshake is what a wire has until the handshake is done.
type handshake struct {
	socket net.Conn
	cpu    chan struct{} // one of its elements is held but while the socket is waited for
	// ahead is what came before the handshake began.
	ahead []byte
	// header is that of the record that is read, as far as it is; left is what of its body is not.
	header [recordHeaderBytes]byte
	have   int
	left   int

	secrets secrets
}

// errNothing is that of a read while there is nothing. It is temporary, see the package comment.
var errNothing net.Error = nothingError{}

type nothingError struct{}

func (nothingError) Error() string   { return "nothing has come" }
func (nothingError) Timeout() bool   { return true }
func (nothingError) Temporary() bool { return true }

// Read gives what came; during the handshake nothing behind the end of a record.
func (w *wire) Read(p []byte) (n int, err error) {
	h := w.handshake
	if h == nil {
		if len(w.in) == 0 {
			return 0, errNothing
		}
		n = copy(p, w.in)
		w.in = w.in[n:]
		return n, nil
	}
	if h.left > 0 {
		n, err = h.read(p[:min(len(p), h.left)])
		h.left -= n
		return n, err
	}
	n, err = h.read(p[:min(len(p), recordHeaderBytes-h.have)])
	h.have += copy(h.header[h.have:], p[:n])
	if h.have == recordHeaderBytes {
		h.have, h.left = 0, int(binary.BigEndian.Uint16(h.header[3:]))
	}
	return n, err
}

func (h *handshake) read(p []byte) (n int, err error) {
	if len(h.ahead) > 0 {
		n = copy(p, h.ahead)
		h.ahead = h.ahead[n:]
		return n, nil
	}
	<-h.cpu
	n, err = h.socket.Read(p)
	h.cpu <- struct{}{}
	return n, err
}

// Write sends p during the handshake, and keeps it afterwards.
func (w *wire) Write(p []byte) (n int, err error) {
	if h := w.handshake; h != nil {
		<-h.cpu
		n, err = h.socket.Write(p)
		h.cpu <- struct{}{}
		return n, err
	}
	w.out = append(w.out, p...)
	return len(p), nil
}

// Close ends the handshake, by its context.
func (w *wire) Close() error {
	if h := w.handshake; h != nil {
		return h.socket.Close()
	}
	return nil
}

// The rest of net.Conn: the deadlines are the socket's own, set once for the handshake.

func (w *wire) LocalAddr() net.Addr              { return nil }
func (w *wire) RemoteAddr() net.Addr             { return nil }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
