package http1

import "bytes"

// maxOptions bounds the options of a head's Connection headers, empty ones too: each field that is sent on
// is looked up among them.
const maxOptions = 16

// endToEnd are fields for whoever gets the message in the end, or for each on the way. Connection may not
// name them (RFC 9110 section 7.6.1): a hop that believed it would take them away from the next one.
// Transfer-Encoding is not among them: it is of one hop in any case, and some senders name it.
var endToEnd = [...]string{
	"accept*", "access-control-*", "age", "allow", "alt-svc", "authorization", "cache-control", "content-*",
	"cookie*", "date", "etag", "expect", "expires", "forwarded", "from", "host", "if-*", "last-*", "link",
	"location", "max-forwards", "origin", "pragma", "range", "ratelimit*", "referer", "retry-after", "sec-*",
	"server*", "set-cookie*", "strict-transport-security", "traceparent", "tracestate", "user-agent", "vary",
	"via", "warning", "www-authenticate", "x-api-key", "x-forwarded-*", "x-real-ip", "x-request-id",
}

// addConnection takes in one Connection header.
func (x *facts) addConnection(list []byte, lim *Limits) error {
	for more := true; more; {
		var option []byte
		option, list, more = bytes.Cut(list, []byte(","))
		option = trim(option)
		x.options++
		switch {
		case x.options > maxOptions || len(option) > 0 && !isToken(option):
			return ErrConnection
		case len(option) == 0, equalFold(option, "TE"):
		case equalFold(option, "close"):
			x.close = true
		case equalFold(option, "keep-alive"):
			x.keepAlive = true
		case equalFold(option, "upgrade"):
			x.upgrade = true
		case anyMatches(option, endToEnd[:]) || anyMatches(option, lim.EndToEnd):
			return ErrConnection
		default:
			x.named = true
		}
	}
	return nil
}

// initials are the first bytes of patterns, as bits of their lower five: what has none of them as its own matches none.
type initials uint32

func initialsOf(patterns []string) (all initials) {
	for _, p := range patterns {
		switch {
		case p == "":
		case p[0] == '*':
			return ^initials(0)
		default:
			all |= 1 << (folded[p[0]] & 31)
		}
	}
	return all
}

func (all initials) has(name []byte) bool { return all&(1<<(folded[name[0]]&31)) != 0 }

func anyMatches(name []byte, patterns []string) bool {
	for _, p := range patterns {
		if p != "" && matches(name, p) {
			return true
		}
	}
	return false
}

// goesOn reports whether f, one of a message's fields, is for others than the next hop. named is whether
// Connection names any.
func goesOn(fields []Field, named bool, f *Field) bool {
	switch f.is() {
	case kindConnection, kindEncoding, kindUpgrade, kindTrailer, kindTE, kindHop:
		return false
	}
	if !named {
		return true
	}
	for _, c := range fields {
		if equalFold(c.Name, "Connection") && listsName(c.Value, f.Name) {
			return false
		}
	}
	return true
}

func listsName(list, name []byte) bool {
	for len(list) > 0 {
		option, rest, _ := bytes.Cut(list, []byte(","))
		if bytes.EqualFold(trim(option), name) {
			return true
		}
		list = rest
	}
	return false
}

// Forwarded calls yield with each field that goes further than one hop, in order, until it returns false:
// without Connection and what it names, Keep-Alive, Proxy-Connection, Proxy-Authenticate,
// Proxy-Authorization, TE, Trailer, Transfer-Encoding, Upgrade and HTTP2-Settings (RFC 9110 section 7.6.1).
// Host and Content-Length are among them: who writes a head states them anew.
func (r *Request) Forwarded(yield func(Field) bool) { forward(r.Fields, r.named, yield) }

// Forwarded is [Request.Forwarded] of an answer.
func (r *Response) Forwarded(yield func(Field) bool) { forward(r.Fields, r.named, yield) }

func forward(fields []Field, named bool, yield func(Field) bool) {
	for _, f := range fields {
		if goesOn(fields, named, &f) && !yield(f) {
			return
		}
	}
}
