package http1

import (
	"net/http"
	"strconv"
)

// Onward says how a head is sent on. Its slices are only read.
type Onward struct {
	// Host is the authority that a request names; nil for the one that the client asked for.
	Host []byte
	// Without are names of fields, in any case and with - or _, that are left out; one that ends in *
	// stands for all that begin so.
	Without []string
	// Extra are put behind those that are sent on, whatever they are called.
	Extra []Field
	// Lines are put behind these as they are, and not looked at: whole lines, each with its CRLF, that could be Extra.
	Lines []byte
	// Framing is that of the body as it is sent on, Length its Content-Length. With FramingNone a request
	// is framed as it came; an answer has no body, and keeps its Content-Length if its status may have one, since
	// that to a HEAD, and a 304, tell that of another. FramingClose is of answers alone, and says Connection:
	// close.
	Framing Framing
	Length  int64
	// Upgrade passes the message's own Upgrade on.
	Upgrade bool
	// Close says Connection: close; KeepAlive, which a client of HTTP/1.0 wants to hear, keep-alive.
	Close, KeepAlive bool
}

// AppendRequestHead appends the head of r as it is sent on to an upstream, in HTTP/1.1: method and target byte
// for byte, [Request.Forwarded], and what o says; the framing is stated anew. A client's TE is reduced to
// trailers. On an error, which only o can be the cause of, dst comes back as it was: [ErrHost], [ErrFieldName]
// or [ErrFieldValue] for what no head may have, [ErrReserved] for an extra Host, Connection, Upgrade or
// field that frames the body, [ErrFraming] for a framing that the message cannot have.
func AppendRequestHead(dst []byte, r *Request, o *Onward) ([]byte, error) {
	if err := o.check(o.Framing == FramingClose); err != nil {
		return dst, err
	}
	host := r.Host
	if o.Host != nil {
		host = o.Host
	}
	dst = append(append(dst, r.Method...), ' ')
	dst = append(dst, r.Path...)
	if r.RawQuery != nil {
		dst = append(append(dst, '?'), r.RawQuery...)
	}
	dst = append(dst, " HTTP/1.1\r\n"...)
	dst = appendField(dst, "Host", host)
	dst = o.appendFields(dst, r.Fields, r.named)
	if o.Framing == FramingNone {
		dst = appendFraming(dst, r.Framing(), r.ContentLength)
	} else {
		dst = appendFraming(dst, o.Framing, o.Length)
	}
	te := r.takesTrailers
	if te {
		dst = append(dst, "TE: trailers\r\n"...)
	}
	upgrade := r.Upgrade
	if !o.Upgrade {
		upgrade = nil
	}
	return o.appendHop(dst, upgrade, te, o.Close), nil
}

// AppendResponseHead is [AppendRequestHead] for an answer, which is sent on to the client in HTTP/1.1. r may
// also be one that was not parsed, of a Status, a ContentLength of -1 and nothing else.
func AppendResponseHead(dst []byte, r *Response, o *Onward) ([]byte, error) {
	bodiless := r.Status < 200 || r.Status == http.StatusNoContent
	if err := o.check(bodiless && o.Framing != FramingNone); err != nil {
		return dst, err
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(append(append(dst, ' '), r.Reason...), "\r\n"...)
	dst = o.appendFields(dst, r.Fields, r.named)
	if o.Framing == FramingNone && r.ContentLength >= 0 && !bodiless {
		dst = appendFraming(dst, FramingLength, r.ContentLength)
	}
	dst = appendFraming(dst, o.Framing, o.Length)
	upgrade := r.Upgrade
	if !o.Upgrade {
		upgrade = nil
	}
	return o.appendHop(dst, upgrade, false, o.Close || o.Framing == FramingClose), nil
}

// check refuses what would not be one head, or be one of no framing or two.
func (o *Onward) check(misframed bool) error {
	if misframed || o.Framing > FramingClose || o.Framing == FramingLength && o.Length < 0 {
		return ErrFraming
	}
	if len(o.Host) > 0 && !validHost(o.Host) {
		return ErrHost
	}
	for _, f := range o.Extra {
		if err := CheckExtra(f.Name); err != nil {
			return err
		}
		if !isValue(f.Value) {
			return ErrFieldValue
		}
	}
	return nil
}

// CheckExtra says why no field of that name may be extra: [ErrReserved] or [ErrFieldName]; nil if one may.
func CheckExtra(name []byte) error {
	switch kindOf(name) {
	case kindHost, kindLength, kindEncoding, kindConnection, kindUpgrade:
		return ErrReserved
	}
	if !isToken(name) {
		return ErrFieldName
	}
	return nil
}

func (o *Onward) appendFields(dst []byte, fields []Field, named bool) []byte {
	initials := initialsOf(o.Without)
	for i := range fields {
		f := &fields[i]
		if k := f.is(); k == kindHost || k == kindLength || !goesOn(fields, named, f) || initials.has(f.Name) && anyMatches(f.Name, o.Without) {
			continue
		}
		dst = appendField(dst, f.Name, f.Value)
	}
	for i := range o.Extra {
		dst = appendField(dst, o.Extra[i].Name, o.Extra[i].Value)
	}
	return append(dst, o.Lines...)
}

func appendFraming(dst []byte, f Framing, length int64) []byte {
	switch f {
	case FramingLength:
		dst = append(dst, "Content-Length: "...)
		return append(strconv.AppendInt(dst, length, 10), "\r\n"...)
	case FramingChunked:
		return append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return dst
}

// appendHop appends what is said to the next hop alone, and the blank line.
func (o *Onward) appendHop(dst, upgrade []byte, te, end bool) []byte {
	if upgrade != nil {
		dst = appendField(dst, "Upgrade", upgrade)
	}
	start := len(dst)
	for _, option := range [...]struct {
		name string
		on   bool
	}{{"close", end}, {"keep-alive", o.KeepAlive && !end}, {"upgrade", upgrade != nil}, {"TE", te}} {
		switch {
		case !option.on:
			continue
		case len(dst) == start:
			dst = append(dst, "Connection: "...)
		default:
			dst = append(dst, ", "...)
		}
		dst = append(dst, option.name...)
	}
	if len(dst) > start {
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

func appendField[N string | []byte](dst []byte, name N, value []byte) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}
