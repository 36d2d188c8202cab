package http1

import "bytes"

// Limits bound a head, and say what of HTTP is taken beyond the least.
type Limits struct {
	// MaxHeadBytes bounds the head with its blank line, MaxFields its header fields.
	MaxHeadBytes, MaxFields int
	// AllowHTTP10 takes heads of HTTP/1.0 too: requests without a Host, which close unless they ask
	// for keep-alive, and answers, which close.
	AllowHTTP10 bool
	// AllowAbsolute takes targets such as http://host/path (RFC 9112 section 3.2.2). A Host header
	// has to name the same host.
	AllowAbsolute bool
	// EndToEnd are names of fields, in any case, that Connection may not name, beside those that
	// it never may: what whoever forwards relies on. One that ends in * stands for all that begin so.
	EndToEnd []string
}

// Request is a parsed head. Its slices alias the bytes it was parsed from. The zero value is
// ready, and one may be used for head after head.
type Request struct {
	Method []byte
	// Path is the target up to the first '?', still percent-encoded; RawQuery what follows, nil
	// without a '?'. Of an absolute target both are what follows the host.
	Path, RawQuery []byte
	Fields         []Field
	// Host is the Host header, or of an absolute target its host and port. It is empty if the client
	// sent an empty one, or none with HTTP/1.0.
	Host []byte
	// ContentLength is -1 without one; Chunked says that the body is in chunks.
	ContentLength int64
	Chunked       bool
	// Close says that the connection ends after the answer: the client asked for it, or it
	// speaks HTTP/1.0 and did not ask for keep-alive.
	Close bool
	// HTTP10 says that the client speaks HTTP/1.0: it knows no chunks and no 1xx, and if Close is
	// not set it wants to be told so by Connection: keep-alive.
	HTTP10 bool
	// Expect100 says that the client waits for a 100 before it sends the body, of which there is one.
	Expect100 bool
	// Upgrade is the protocol that the client asks to change to, in Upgrade and Connection; nil if it
	// does not, if it speaks HTTP/1.0, or if the request has a body.
	Upgrade []byte

	// Trailers says that the client takes trailers (TE), or that its body ends in some (Trailer).
	Trailers bool

	takesTrailers bool
	absolute      bool
	named         bool // Connection names fields
}

// Parse reads one head from the start of b; n is its length with the blank line. It returns
// [ErrShort] while the head is not whole, and [ErrHeadTooLarge] or [ErrTargetTooLong] once b has
// MaxHeadBytes without it being whole. A request line that is wrong is refused as soon as it ends, and a line
// end that is wrong as soon as it is there. Each call looks at b from its start: fed byte by byte that
// is quadratic in MaxHeadBytes, which bounds it.
func (r *Request) Parse(b []byte, lim Limits) (n int, err error) {
	*r = Request{Fields: r.Fields[:0], ContentLength: -1}
	line, rest, n, err := startLine(b, lim)
	if err == ErrShort { //nolint:errorlint // it is this package's own, unwrapped
		return 0, r.parseEarly(b, lim)
	}
	if err != nil {
		return 0, err
	}
	if err := r.parseLine(line, lim); err != nil {
		return 0, err
	}
	if err := r.readFields(rest, &lim); err != nil {
		return 0, err
	}
	return n, nil
}

// parseEarly refuses a request line that is wrong before the head is whole: it may never be, as in HTTP/0.9,
// which has no more than the line.
func (r *Request) parseEarly(b []byte, lim Limits) error {
	if bytes.IndexByte(b, '\n') < 0 {
		return ErrShort
	}
	line, _, err := cutLine(b)
	if err == nil {
		err = r.parseLine(line, lim)
	}
	*r = Request{Fields: r.Fields[:0], ContentLength: -1}
	if err != nil {
		return err
	}
	return ErrShort
}

// startLine is the first line of the head at the start of b, the rest of it, and its length.
func startLine(b []byte, lim Limits) (line, rest []byte, n int, err error) {
	if n, err = headEnd(b, lim); err == nil {
		line, rest, err = cutLine(b[:n])
	}
	return line, rest, n, err
}

// headEnd finds the blank line that ends a head. What cannot become one is refused at once.
func headEnd(b []byte, lim Limits) (int, error) {
	window := b[:min(len(b), lim.MaxHeadBytes)]
	if i := bytes.Index(window, []byte("\r\n\r\n")); i >= 0 {
		return i + 4, nil
	}
	if len(b) >= lim.MaxHeadBytes {
		if bytes.IndexByte(window, '\n') < 0 {
			return 0, ErrTargetTooLong
		}
		return 0, ErrHeadTooLarge
	}
	for rest := window; len(rest) > 0; {
		i := bytes.IndexAny(rest, "\r\n")
		if i < 0 || i+1 == len(rest) && rest[i] == '\r' {
			break
		}
		if rest[i] == '\n' || rest[i+1] != '\n' {
			return 0, ErrLineEnd
		}
		rest = rest[i+2:]
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

func (r *Request) parseLine(line []byte, lim Limits) error {
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
	r.HTTP10 = string(version) == "HTTP/1.0"
	if string(version) != "HTTP/1.1" && (!r.HTTP10 || !lim.AllowHTTP10) {
		if bytes.HasPrefix(version, []byte("HTTP/")) && bytes.IndexByte(version, ' ') < 0 {
			return ErrVersion
		}
		return ErrRequestLine
	}
	if string(method) == "CONNECT" {
		return ErrConnect
	}
	if !all(target, targetByte) {
		return ErrTarget
	}
	r.Method = method
	if target[0] != '/' {
		if !lim.AllowAbsolute {
			return ErrTarget
		}
		return r.parseAbsolute(target)
	}
	r.Path, r.RawQuery, _ = bytes.Cut(target, []byte("?"))
	return checkEscapes(r.Path)
}

var slash = []byte("/")

// parseAbsolute is RFC 9112 section 3.2.2.
func (r *Request) parseAbsolute(target []byte) error {
	scheme, rest, ok := bytes.Cut(target, []byte("://"))
	if !ok || !equalFold(scheme, "http") && !equalFold(scheme, "https") {
		return ErrTarget
	}
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if end == 0 || !validHost(rest[:end]) {
		return ErrTarget
	}
	r.Host, r.absolute = rest[:end], true
	if r.Path, r.RawQuery, _ = bytes.Cut(rest[end:], []byte("?")); len(r.Path) == 0 {
		r.Path = slash
	}
	return checkEscapes(r.Path)
}

// readFields reads the fields, with what decides where the message ends, and refuses what could be read
// in two ways.
func (r *Request) readFields(b []byte, lim *Limits) (err error) {
	var x facts
	if r.Fields, err = x.read(r.Fields, b, lim, r.HTTP10); err != nil {
		return err
	}
	if err := r.checkHost(x.hosts, x.host); err != nil {
		return err
	}
	if x.expects > 1 || x.expects > 0 && !equalFold(x.expect, "100-continue") {
		return ErrExpect
	}
	r.ContentLength, r.Chunked, r.named = x.length, x.encodings > 0, x.named
	r.takesTrailers = x.te && r.HasToken("TE", "trailers")
	r.Trailers = x.trailer || r.takesTrailers
	r.Close = x.close || r.HTTP10 && !x.keepAlive
	hasBody := r.Chunked || r.ContentLength > 0
	r.Expect100 = x.expects > 0 && hasBody && !r.HTTP10
	if x.upgrade && !hasBody && !r.HTTP10 && len(x.upgradeTo) > 0 {
		r.Upgrade = x.upgradeTo
	}
	return nil
}

// checkHost is RFC 9112 section 3.2.
func (r *Request) checkHost(n int, host []byte) error {
	switch {
	case n > 1 || n == 0 && !r.HTTP10 || len(host) > 0 && !validHost(host):
		return ErrHost
	case r.absolute && n == 1 && !bytes.EqualFold(host, r.Host):
		return ErrHostDiffers
	case !r.absolute:
		r.Host = host
	}
	return nil
}

// Framing says where the request's body ends: FramingNone, FramingLength or FramingChunked. [Request.Parse]
// has refused what leaves a doubt.
func (r *Request) Framing() Framing {
	switch {
	case r.Chunked:
		return FramingChunked
	case r.ContentLength >= 0:
		return FramingLength
	}
	return FramingNone
}

// Get is the value of the first field of that name, in any case.
func (r *Request) Get(name string) (value []byte, ok bool) { return get(r.Fields, name) }

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
