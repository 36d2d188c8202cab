package ws

import (
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

const (
	// MinDeflateBytes is the payload from which on compression is tried: JSON of half of it becomes
	// longer.
	MinDeflateBytes = 128
	// deflateLevel is decided by BenchmarkAppendDeflated. The levels above 1 clear tables of 640 KiB
	// for each message: that alone is more than level 1 takes for a small one, and takes a few
	// hundredths of the bytes away.
	deflateLevel = flate.BestSpeed
	// deflateTail is what a sender takes off the end of each message (RFC 7692 section 7.2.1).
	deflateTail = "\x00\x00\xff\xff"
	// inflateTail puts it back, and ends the stream with an empty final block, so that the end is
	// told from a message that is cut.
	inflateTail = deflateTail + "\x01\x00\x00\xff\xff"
	// windowBytes is how far back DEFLATE can refer (RFC 1951 section 2).
	windowBytes = 32 << 10
	// maxFinals bounds the final blocks of a message. A sender without a flush makes one (RFC 7692
	// section 7.2.3.4); each costs a new start with a window of 32 KiB, for 2 bytes sent.
	maxFinals = 16
	// maxDeflaterKeep bounds the output that a pooled deflater keeps. Bytes.
	maxDeflaterKeep = 256 << 10
)

// deflater is a compressor with its output. It holds about 1 MiB, so there are only as many as
// loops that compress at one moment.
type deflater struct {
	w   *flate.Writer
	out []byte
}

// Write implements [io.Writer] for w.
func (d *deflater) Write(p []byte) (int, error) {
	d.out = append(d.out, p...)
	return len(p), nil
}

var deflaters = sync.Pool{New: func() any { return newDeflater(deflateLevel) }}

func newDeflater(level int) *deflater {
	d := &deflater{}
	w, err := flate.NewWriter(d, level)
	if err != nil { // only for a level that is not one
		panic(err)
	}
	d.w = w
	return d
}

// AppendDeflated appends a whole unmasked frame of a message compressed by permessage-deflate (RFC
// 7692 section 7.2.1), without a window from the message before. If that does not pay, because
// payload is below [MinDeflateBytes] or does not become smaller, ok is false and dst is as it was:
// then the message is sent by [AppendFrame]. Any goroutine.
func AppendDeflated(dst []byte, op OpCode, payload []byte) (b []byte, ok bool) {
	if len(payload) < MinDeflateBytes {
		return dst, false
	}
	d := deflaters.Get().(*deflater) //nolint:errcheck // the pool holds nothing else
	defer deflaters.Put(d)
	out := d.deflate(payload)
	if len(out) >= len(payload) {
		return dst, false
	}
	first := len(dst)
	dst = AppendHeader(slices.Grow(dst, MaxHeaderBytes+len(out)), op, true, len(out))
	dst[first] |= rsv1Bit
	return append(dst, out...), true
}

// deflate is payload as one message. It lives until the deflater's next use.
func (d *deflater) deflate(payload []byte) []byte {
	if cap(d.out) > maxDeflaterKeep {
		d.out = nil
	}
	d.out = d.out[:0]
	d.w.Reset(d)
	_, err := d.w.Write(payload)
	if err = errors.Join(err, d.w.Flush()); err != nil { // Write above takes everything
		panic(err)
	}
	return d.out[:len(d.out)-len(deflateTail)]
}

// inflater is a decompressor with its input: a message, then inflateTail.
type inflater struct {
	r       io.ReadCloser
	message []byte
	tail    string
}

// ReadByte implements [io.ByteReader] for r, which then reads no byte too many.
func (f *inflater) ReadByte() (c byte, err error) {
	switch {
	case len(f.message) > 0:
		c, f.message = f.message[0], f.message[1:]
	case len(f.tail) > 0:
		c, f.tail = f.tail[0], f.tail[1:]
	default:
		return 0, io.EOF
	}
	return c, nil
}

// Read implements [io.Reader] for r.
func (f *inflater) Read(p []byte) (n int, err error) {
	switch {
	case len(f.message) > 0:
		n = copy(p, f.message)
		f.message = f.message[n:]
	case len(f.tail) > 0:
		n = copy(p, f.tail)
		f.tail = f.tail[n:]
	default:
		return 0, io.EOF
	}
	return n, nil
}

var inflaters = sync.Pool{New: func() any {
	f := &inflater{}
	f.r = flate.NewReader(f)
	return f
}}

// Inflate appends a message that was compressed by permessage-deflate (RFC 7692 section 7.2.2),
// without a window from the message before: the payloads of its frames, joined. It returns
// [ErrTooLarge] once there are more than maxBytes, of which it has made one, and [ErrDeflate] for
// what is not DEFLATE. Memory is bounded by maxBytes, and time by that and the message's length:
// BenchmarkInflate has the longest that a message can take, some forty times that of a usual one.
// Any goroutine.
func Inflate(dst, message []byte, maxBytes int) ([]byte, error) {
	f := inflaters.Get().(*inflater) //nolint:errcheck // the pool holds nothing else
	defer inflaters.Put(f)
	f.message, f.tail = message, inflateTail
	defer func() { f.message, f.tail = nil, "" }()
	start := len(dst)
	for range maxFinals {
		// What follows a final block goes on with its window (RFC 7692 section 7.2.1).
		window := dst[max(start, len(dst)-windowBytes):]
		if err := f.r.(flate.Resetter).Reset(f, window); err != nil { //nolint:errcheck // flate's readers all are
			return dst[:start], fmt.Errorf("%w: %w", ErrDeflate, err)
		}
		var err error
		if dst, err = f.appendStream(dst, start+maxBytes); err != nil {
			return dst[:start], err
		}
		if len(f.message) == 0 {
			return dst, nil
		}
	}
	return dst[:start], fmt.Errorf("%w: more than %d final blocks", ErrDeflate, maxFinals)
}

// appendStream reads to the next final block's end; dst may become limit long.
func (f *inflater) appendStream(dst []byte, limit int) ([]byte, error) {
	for {
		if len(dst) == cap(dst) && cap(dst) <= limit {
			grown := make([]byte, len(dst), min(max(2*cap(dst), 1<<10), limit+1))
			copy(grown, dst)
			dst = grown
		}
		n, err := f.r.Read(dst[len(dst):min(cap(dst), limit+1)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > limit:
			return dst, ErrTooLarge
		case errors.Is(err, io.EOF):
			return dst, nil
		case err != nil:
			return dst, fmt.Errorf("%w: %w", ErrDeflate, err)
		}
	}
}
