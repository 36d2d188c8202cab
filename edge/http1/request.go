package http1

import (
	"bytes"
	"strconv"
)

// Limits bound a head.
type Limits struct {
	// MaxHeadBytes bounds the head with its blank line, MaxFields its header fields.
	MaxHeadBytes, MaxFields int
}

// Field is one header field. Value has no white space around it.
type Field struct {
	Name, Value []byte
}

// Request is a parsed head. Its slices alias the bytes it was parsed from. The zero value is
// ready, and one may be used for head after head.
type Request struct {
	Method []byte
	// Path is the target up to the first '?', still percent-encoded; RawQuery what follows.
	Path, RawQuery []byte
	Fields         []Field
	Host           []byte
	// ContentLength is -1 without one; Chunked says that the body is in chunks.
	ContentLength int64
	Chunked       bool
	// Close says that the client asked to close after the answer.
	Close bool
}

// Parse reads one head from the start of b; n is its length with the blank line. It returns
// [ErrShort] while the head is not whole, and [ErrHeadTooLarge] once b has MaxHeadBytes
// without it being whole. Each call looks at b from its start: fed byte by byte that is
// quadratic in MaxHeadBytes, which bounds it.
func (r *Request) Parse(b []byte, lim Limits) (n int, err error) {
	*r = Request{Fields: r.Fields[:0], ContentLength: -1}
	n, err = headEnd(b, lim)
	if err != nil {
		return 0, err
	}
	line, rest, err := cutLine(b[:n])
	if err != nil {
		return 0, err
	}
	if err := r.parseLine(line); err != nil {
		return 0, err
	}
	if r.Fields, err = parseFields(r.Fields, rest, lim); err != nil {
		return 0, err
	}
	if err := r.interpret(); err != nil {
		return 0, err
	}
	return n, nil
}

// headEnd finds the blank line that ends a head. What cannot become one is refused at once.
func headEnd(b []byte, lim Limits) (int, error) {
	window := b[:min(len(b), lim.MaxHeadBytes)]
	if i := bytes.Index(window, []byte("\r\n\r\n")); i >= 0 {
		return i + 4, nil
	}
	if len(b) >= lim.MaxHeadBytes {
		return 0, ErrHeadTooLarge
	}
	if i := bytes.IndexByte(window, '\n'); i == 0 || i > 0 && window[i-1] != '\r' {
		return 0, ErrLineEnd
	}
	return 0, ErrShort
}

// cutLine cuts the first line off b. A bare CR or LF is an error.
func cutLine(b []byte) (line, rest []byte, err error) {
	i := bytes.IndexByte(b, '\n')
	if i < 1 || b[i-1] != '\r' {
		return nil, nil, ErrLineEnd
	}
	line = b[:i-1]
	if bytes.IndexByte(line, '\r') >= 0 {
		return nil, nil, ErrLineEnd
	}
	return line, b[i+1:], nil
}

func (r *Request) parseLine(line []byte) error {
	method, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return ErrRequestLine
	}
	target, version, ok := bytes.Cut(rest, []byte(" "))
	if !ok || len(method) == 0 || len(target) == 0 {
		return ErrRequestLine
	}
	if !isToken(method) {
		return ErrMethod
	}
	if string(version) != "HTTP/1.1" {
		if bytes.HasPrefix(version, []byte("HTTP/")) && bytes.IndexByte(version, ' ') < 0 {
			return ErrVersion
		}
		return ErrRequestLine
	}
	if target[0] != '/' {
		return ErrTarget
	}
	for _, c := range target {
		if c <= ' ' || c >= 0x7f || c == '#' {
			return ErrTarget
		}
	}
	r.Method = method
	r.Path, r.RawQuery, _ = bytes.Cut(target, []byte("?"))
	return checkEscapes(r.Path)
}

// parseFields reads header lines up to the blank one.
func parseFields(fields []Field, b []byte, lim Limits) ([]Field, error) {
	for {
		line, rest, err := cutLine(b)
		if err != nil {
			return fields, err
		}
		b = rest
		if len(line) == 0 {
			return fields, nil
		}
		if line[0] == ' ' || line[0] == '\t' {
			return fields, ErrFolded
		}
		if len(fields) == lim.MaxFields {
			return fields, ErrTooManyFields
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !isToken(name) {
			return fields, ErrFieldName
		}
		value = bytes.Trim(value, " \t")
		for _, c := range value {
			if c < ' ' && c != '\t' || c == 0x7f {
				return fields, ErrFieldValue
			}
		}
		fields = append(fields, Field{Name: name, Value: value})
	}
}

// interpret reads what decides where the message ends, and refuses what could be read in two
// ways (RFC 9112 section 6.3).
func (r *Request) interpret() error {
	hosts, lengths, encodings := 0, 0, 0
	for _, f := range r.Fields {
		switch {
		case equalFold(f.Name, "Host"):
			hosts++
			r.Host = f.Value
		case equalFold(f.Name, "Content-Length"):
			lengths++
			v, err := parseLength(f.Value)
			if err != nil {
				return err
			}
			r.ContentLength = v
		case equalFold(f.Name, "Transfer-Encoding"):
			encodings++
			if !equalFold(f.Value, "chunked") {
				return ErrTransferEncoding
			}
			r.Chunked = true
		case equalFold(f.Name, "Connection"):
			r.Close = r.Close || HasToken(f.Value, "close")
		case isSingleton(f.Name):
			if r.count(f.Name) > 1 {
				return ErrRepeated
			}
		}
	}
	switch {
	case hosts != 1 || !validHost(r.Host):
		return ErrHost
	case lengths > 1:
		return ErrContentLength
	case encodings > 1:
		return ErrTransferEncoding
	case lengths > 0 && encodings > 0:
		return ErrLengthAndChunks
	}
	return nil
}

// isSingleton reports whether a field of the handshake may come only once.
func isSingleton(name []byte) bool {
	for _, s := range [...]string{"Sec-WebSocket-Key", "Sec-WebSocket-Version", "Origin", "Authorization", "Last-Event-ID"} {
		if equalFold(name, s) {
			return true
		}
	}
	return false
}

func (r *Request) count(name []byte) (n int) {
	for _, f := range r.Fields {
		if bytes.EqualFold(f.Name, name) {
			n++
		}
	}
	return n
}

func parseLength(v []byte) (int64, error) {
	if len(v) == 0 || len(v) > 18 {
		return 0, ErrContentLength
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, ErrContentLength
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

// validHost allows the bytes of a host and port (RFC 3986 section 3.2.2), and an empty one.
func validHost(host []byte) bool {
	for _, c := range host {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case bytes.IndexByte([]byte("-._~%!$&'()*+,;=:[]"), c) >= 0:
		default:
			return false
		}
	}
	return true
}

// Get is the value of the first field of that name, in any case.
func (r *Request) Get(name string) (value []byte, ok bool) { return get(r.Fields, name) }

func get(fields []Field, name string) ([]byte, bool) {
	for _, f := range fields {
		if equalFold(f.Name, name) {
			return f.Value, true
		}
	}
	return nil, false
}

// HasToken reports whether any of the fields of that name, which together make one list (RFC
// 9110 section 5.3), has the token, in any case.
func (r *Request) HasToken(name, token string) bool {
	for _, f := range r.Fields {
		if equalFold(f.Name, name) && HasToken(f.Value, token) {
			return true
		}
	}
	return false
}

// HasToken reports whether a comma-separated list has the token, in any case.
func HasToken(list []byte, token string) bool {
	for len(list) > 0 {
		part, rest, _ := bytes.Cut(list, []byte(","))
		if equalFold(bytes.Trim(part, " \t"), token) {
			return true
		}
		list = rest
	}
	return false
}

// equalFold compares ASCII without case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(b) {
		if lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// isToken is RFC 9110 section 5.6.2.
func isToken(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0:
		default:
			return false
		}
	}
	return len(b) > 0
}

// Response is a parsed head of an answer. Its slices alias the bytes it was parsed from.
type Response struct {
	Status int
	Fields []Field
}

// Parse reads one head, as [Request.Parse] does.
func (r *Response) Parse(b []byte, lim Limits) (n int, err error) {
	*r = Response{Fields: r.Fields[:0]}
	if n, err = headEnd(b, lim); err != nil {
		return 0, err
	}
	line, rest, err := cutLine(b[:n])
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) || len(line) < 12 || len(line) > 12 && line[12] != ' ' {
		return 0, ErrStatusLine
	}
	if r.Status, err = strconv.Atoi(string(line[9:12])); err != nil || r.Status < 100 {
		return 0, ErrStatusLine
	}
	if r.Fields, err = parseFields(r.Fields, rest, lim); err != nil {
		return 0, err
	}
	return n, nil
}

// Get is the value of the first field of that name, in any case.
func (r *Response) Get(name string) (value []byte, ok bool) { return get(r.Fields, name) }
