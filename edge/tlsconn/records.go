package tlsconn

import (
	"crypto/tls"
	"errors"
	"io"
	"slices"
)

// maxRecord is the most plain text of a record (RFC 8446 section 5.1).
const maxRecord = 16 << 10

// Records is the record layer of one conn, in this process. It is used by one goroutine at a time.
type Records struct {
	conn *tls.Conn
	wire wire
}

// Open appends to dst the plain text of in, all of which it takes: the part of a record at its end
// is kept until the rest comes. The error is [io.EOF] if the client has said that it is done, and
// else what was wrong, after which the conn is to be closed. [Records.Reply] is due either way.
func (r *Records) Open(dst, in []byte) ([]byte, error) {
	r.wire.in = in
	for {
		dst = slices.Grow(dst, maxRecord)
		n, err := r.conn.Read(dst[len(dst) : len(dst)+maxRecord])
		dst = dst[:len(dst)+n]
		if err == nil {
			continue
		}
		r.wire.in = nil
		if errors.Is(err, errNothing) {
			return dst, nil
		}
		return dst, err
	}
}

// Reply is what is to be sent on account of what came: an alert, or the answer to an update of keys.
// It is nil mostly.
func (r *Records) Reply() []byte {
	reply := r.wire.out
	r.wire.out = nil
	return reply
}

// Seal appends to dst the records of plain, each of 16 KiB at most. The error is that of a conn that
// was to be closed already.
func (r *Records) Seal(dst, plain []byte) ([]byte, error) {
	r.wire.out = dst
	_, err := r.conn.Write(plain)
	return r.Reply(), err
}

// SealEnd is the alert close_notify: nothing can be sealed afterwards.
func (r *Records) SealEnd(dst []byte) []byte {
	r.wire.out = dst
	_ = r.conn.CloseWrite() // of a conn that failed before there is no other end
	return r.Reply()
}

// IsEnd reports whether an error of [Records.Open] is the client's own end, not a fault.
func IsEnd(err error) bool { return errors.Is(err, io.EOF) }
