package http1

import (
	"bytes"
	"net/http"
	"strconv"
)

// Response is a parsed head of an answer. Its slices alias the bytes it was parsed from. Whatever is
// wrong with one that an upstream sent, who forwards it answers 502, not what [StatusOf] says.
type Response struct {
	Status int
	Reason []byte
	Fields []Field
	// ContentLength is -1 without one; Chunked says that the body, if it has one, is in chunks.
	ContentLength int64
	Chunked       bool
	// Close says that the connection ends after the answer: its sender says so, or speaks HTTP/1.0.
	Close  bool
	HTTP10 bool
	// Upgrade is the protocol that a 101 changes to; nil in any other answer.
	Upgrade []byte

	named bool // Connection names fields
}

// Parse reads one head, as [Request.Parse] does.
func (r *Response) Parse(b []byte, lim Limits) (n int, err error) {
	*r = Response{Fields: r.Fields[:0], ContentLength: -1}
	line, rest, n, err := startLine(b, lim)
	if err != nil {
		return 0, err
	}
	if err := r.parseLine(line, lim); err != nil {
		return 0, err
	}
	var x facts
	if r.Fields, err = x.read(r.Fields, rest, &lim, r.HTTP10); err != nil {
		return 0, err
	}
	r.ContentLength, r.Chunked, r.named = x.length, x.encodings > 0, x.named
	r.Close = x.close || r.HTTP10
	if r.Status == http.StatusSwitchingProtocols && x.upgrade && len(x.upgradeTo) > 0 {
		r.Upgrade = x.upgradeTo
	}
	return n, nil
}

func (r *Response) parseLine(line []byte, lim Limits) error {
	r.HTTP10 = bytes.HasPrefix(line, []byte("HTTP/1.0 "))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) && (!r.HTTP10 || !lim.AllowHTTP10) {
		return ErrStatusLine
	}
	if len(line) < 12 || len(line) > 12 && line[12] != ' ' || !isDigits(line[9:12]) || line[9] == '0' {
		return ErrStatusLine
	}
	for _, c := range line[9:12] {
		r.Status = r.Status*10 + int(c-'0')
	}
	r.Reason = line[min(13, len(line)):]
	if !isValue(r.Reason) {
		return ErrStatusLine
	}
	return nil
}

// Framing says where the body of an answer to a request of that method ends (RFC 9112 section 6.3). With
// FramingClose it sets Close. [ErrNoBody]: the answer is one that never has a body, and says that it has.
func (r *Response) Framing(method []byte) (Framing, error) {
	switch {
	case r.Status < 200 || r.Status == http.StatusNoContent:
		if r.Chunked || r.ContentLength > 0 {
			return FramingNone, ErrNoBody
		}
		return FramingNone, nil
	case r.Status == http.StatusNotModified, string(method) == http.MethodHead:
		return FramingNone, nil
	case string(method) == http.MethodConnect && r.Status < 300:
		return FramingNone, nil
	case r.Chunked:
		return FramingChunked, nil
	case r.ContentLength >= 0:
		return FramingLength, nil
	}
	r.Close = true
	return FramingClose, nil
}

// Get is the value of the first field of that name, in any case.
func (r *Response) Get(name string) (value []byte, ok bool) { return get(r.Fields, name) }

// AppendResponse appends a whole answer that closes the connection. contentType may be empty
// if body is.
func AppendResponse(dst []byte, status int, contentType string, header []Field, body []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(append(dst, ' '), http.StatusText(status)...)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	if contentType != "" {
		dst = append(append(dst, "\r\nContent-Type: "...), contentType...)
	}
	for _, f := range header {
		dst = append(append(dst, "\r\n"...), f.Name...)
		dst = append(append(dst, ": "...), f.Value...)
	}
	dst = append(dst, "\r\nConnection: close\r\n\r\n"...)
	return append(dst, body...)
}
