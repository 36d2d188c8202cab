package http1

import "bytes"

// Field is one header field. Value has no white space around it.
type Field struct {
	Name, Value []byte

	kind kind // of a field that was parsed; 0 of another
}

// is the field's kind.
func (f *Field) is() kind {
	if f.kind != 0 {
		return f.kind
	}
	return kindOf(f.Name)
}

// parseFields reads header lines up to the blank one.
func parseFields(fields []Field, b []byte, maxFields int) ([]Field, error) {
	for {
		if len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
			return fields, nil
		}
		if colon, start, end := quickField(b); colon > 0 && len(fields) < maxFields {
			fields = append(fields, Field{b[:colon], b[start:end], kindOf(b[:colon])})
			b = b[end+2:]
			continue
		}
		line, rest, err := cutLine(b)
		if err != nil {
			return fields, err
		}
		b = rest
		if line[0] == ' ' || line[0] == '\t' {
			return fields, ErrFolded
		}
		if len(fields) == maxFields {
			return fields, ErrTooManyFields
		}
		i := bytes.IndexByte(line, ':')
		if i < 0 || !isToken(line[:i]) {
			return fields, ErrFieldName
		}
		value := trim(line[i+1:])
		if !isValue(value) {
			return fields, ErrFieldValue
		}
		fields = append(fields, Field{line[:i], value, kindOf(line[:i])})
	}
}

// quickField finds the name and the value of a field in one pass, as most are; colon is 0 for one that has to be looked at more
// closely: one that is wrong, has a tab, or spaces at its end.
func quickField(b []byte) (colon, start, end int) {
	for colon < len(b) && classes[b[colon]]&tokenByte != 0 {
		colon++
	}
	if colon == len(b) || b[colon] != ':' {
		return 0, 0, 0
	}
	start = colon + 1
	for start < len(b) && b[start] == ' ' {
		start++
	}
	end = start + plainBytes(b[start:])
	if end+1 >= len(b) || b[end] != '\r' || b[end+1] != '\n' || b[end-1] == ' ' && end > start {
		return 0, 0, 0
	}
	return colon, start, end
}

// trim cuts spaces and tabs off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// kind is what a field is to whoever frames or forwards a message.
type kind uint8

const (
	_ kind = iota // it was not looked at
	kindOther
	kindHost
	kindLength
	kindEncoding
	kindConnection
	kindExpect
	kindUpgrade
	kindTrailer
	kindTE
	kindHop    // of one hop, whatever Connection says
	kindSingle // may come only once
)

// kinds are by the length of the name, which most names are told apart by.
var kinds = [...][]struct {
	name string
	kind kind
}{
	2:  {{"te", kindTE}},
	4:  {{"host", kindHost}},
	6:  {{"expect", kindExpect}, {"origin", kindSingle}},
	7:  {{"upgrade", kindUpgrade}, {"trailer", kindTrailer}},
	10: {{"connection", kindConnection}, {"keep-alive", kindHop}},
	13: {{"authorization", kindSingle}, {"last-event-id", kindSingle}},
	14: {{"content-length", kindLength}, {"http2-settings", kindHop}},
	16: {{"proxy-connection", kindHop}},
	17: {{"transfer-encoding", kindEncoding}, {"sec-websocket-key", kindSingle}},
	18: {{"proxy-authenticate", kindHop}},
	19: {{"proxy-authorization", kindHop}},
	21: {{"sec-websocket-version", kindSingle}},
	25: {{"proxy-authentication-info", kindHop}},
}

func kindOf(name []byte) kind {
	if len(name) >= len(kinds) {
		return kindOther
	}
	for _, k := range kinds[len(name)] {
		if folded[name[0]] == k.name[0] && sameName(name, k.name) {
			return k.kind
		}
	}
	return kindOther
}

// facts are what the fields say of the message's end and of its hop.
type facts struct {
	hosts, lengths, encodings, expects, upgrades int

	host, expect, upgradeTo []byte
	length                  int64

	te, trailer bool // there are such fields

	options                   int  // of Connection
	close, keepAlive, upgrade bool // they are among them
	named                     bool // so are names of fields
}

// read reads header lines up to the blank one, into fields, and what they say.
func (x *facts) read(fields []Field, b []byte, lim *Limits, http10 bool) ([]Field, error) {
	fields, err := parseFields(fields, b, lim.MaxFields)
	if err != nil {
		return fields, err
	}
	for _, f := range fields {
		if err := x.add(fields, f, lim); err != nil {
			return fields, err
		}
	}
	return fields, x.check(http10)
}

// add takes in one field of a head.
func (x *facts) add(fields []Field, f Field, lim *Limits) (err error) {
	k := f.is()
	if k == kindOther {
		return nil
	}
	if (k == kindLength || k == kindEncoding) && bytes.IndexByte(f.Name, '_') >= 0 {
		return ErrUnderscore
	}
	switch k {
	case kindHost:
		x.hosts, x.host = x.hosts+1, f.Value
	case kindLength:
		x.lengths++
		x.length, err = parseLength(f.Value)
	case kindEncoding:
		x.encodings++
		if !equalFold(f.Value, "chunked") {
			err = ErrTransferEncoding
		}
	case kindConnection:
		err = x.addConnection(f.Value, lim)
	case kindExpect:
		x.expects, x.expect = x.expects+1, f.Value
	case kindUpgrade:
		x.upgrades, x.upgradeTo = x.upgrades+1, f.Value
	case kindTrailer:
		x.trailer = true
		err = checkTrailerNames(f.Value)
	case kindTE:
		x.te = true
	case kindSingle:
		if count(fields, f.Name) > 1 {
			err = ErrRepeated
		}
	}
	return err
}

// check refuses what leaves a doubt about where the message ends (RFC 9112 section 6.3).
func (x *facts) check(http10 bool) error {
	switch {
	case x.lengths > 1:
		return ErrContentLength
	case x.encodings > 1:
		return ErrTransferEncoding
	case x.lengths > 0 && x.encodings > 0:
		return ErrLengthAndChunks
	case x.encodings > 0 && http10:
		return ErrChunksInHTTP10
	case x.upgrades > 1:
		return ErrRepeated
	case x.lengths == 0:
		x.length = -1
	}
	return nil
}

func count(fields []Field, name []byte) (n int) {
	for _, f := range fields {
		if bytes.EqualFold(f.Name, name) {
			n++
		}
	}
	return n
}

func parseLength(v []byte) (n int64, err error) {
	if len(v) == 0 || len(v) > 18 || !isDigits(v) {
		return 0, ErrContentLength
	}
	for _, c := range v {
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

func get(fields []Field, name string) ([]byte, bool) {
	for _, f := range fields {
		if equalFold(f.Name, name) {
			return f.Value, true
		}
	}
	return nil, false
}

// HasToken reports whether a comma-separated list has the token, in any case.
func HasToken(list []byte, token string) bool {
	for len(list) > 0 {
		part, rest, _ := bytes.Cut(list, []byte(","))
		if equalFold(trim(part), token) {
			return true
		}
		list = rest
	}
	return false
}
