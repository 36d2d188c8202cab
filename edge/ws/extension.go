package ws

import "fmt"

// What we answer an offer of permessage-deflate with. Both sides begin each message with an empty
// window, so a conn costs no memory between messages and one compressed frame serves every conn.
const deflateAnswer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// Bounds of a window's size (RFC 7692 section 7.1.2), as the exponent of 2.
const (
	minWindowBits = 8
	MaxWindowBits = 15
)

// deflateAnswers name the server's window, for offers that demand one.
var deflateAnswers = func() (all [MaxWindowBits + 1]string) {
	for bits := minWindowBits; bits <= MaxWindowBits; bits++ {
		all[bits] = fmt.Sprintf("%s; server_max_window_bits=%d", deflateAnswer, bits)
	}
	return all
}()

// AcceptDeflate reads one Sec-WebSocket-Extensions field of a client's handshake (RFC 6455 section
// 9.1) and returns the value to answer with for its first acceptable offer of permessage-deflate,
// "" if it has none: then the handshake goes on without the extension. A server with several such
// fields asks for each in order.
//
// windowBits is 8 to [MaxWindowBits]: below that, a message of more than 2^windowBits bytes must not be
// compressed for that client. compress/flate knows only the window of 32 KiB, but without one from the
// message before it never refers further back than the message is long.
//
// Declined is an offer that has an unknown parameter, one twice, or an invalid value (RFC 7692
// section 7). A field that breaks the grammar anywhere has no offers.
func AcceptDeflate(field []byte) (answer string, windowBits int) {
	p := extensionParser{rest: field}
	for {
		for p.take(',') { // RFC 9110 section 5.6.1: a list may have empty elements
			continue
		}
		if len(p.rest) == 0 {
			return answer, windowBits
		}
		offer, ok := p.offer()
		if !ok || len(p.rest) > 0 && !p.take(',') {
			return "", 0
		}
		if answer == "" {
			answer, windowBits = offer.answer()
		}
	}
}

// deflateOffer is what is known of one offer.
type deflateOffer struct {
	declined bool
	seen     [4]bool // of deflateParams
	window   int     // the server's, in bits, if it was seen
}

// deflateParams are the parameters of RFC 7692 section 7.1.
var deflateParams = [4]string{
	noServerTakeover: "server_no_context_takeover",
	noClientTakeover: "client_no_context_takeover",
	serverWindow:     "server_max_window_bits",
	clientWindow:     "client_max_window_bits",
}

const (
	noServerTakeover = iota
	noClientTakeover
	serverWindow
	clientWindow
)

// param judges a parameter; value is nil if it has none.
func (o *deflateOffer) param(name, value []byte) {
	for i, known := range deflateParams {
		if string(name) != known {
			continue
		}
		ok := value == nil
		switch i {
		case serverWindow:
			o.window = windowBits(value)
			ok = o.window > 0
		case clientWindow:
			// A hint of what the client will do at most: our window serves it whatever it is.
			ok = ok || windowBits(value) > 0
		}
		o.declined = o.declined || o.seen[i] || !ok
		o.seen[i] = true
		return
	}
	o.declined = true
}

func (o *deflateOffer) answer() (answer string, windowBits int) {
	switch {
	case o.declined:
		return "", 0
	case o.seen[serverWindow]: // RFC 7692 section 7.1.2.1: whoever accepts it says so
		return deflateAnswers[o.window], o.window
	default:
		return deflateAnswer, MaxWindowBits
	}
}

// windowBits is v, 8 to 15 in decimal without leading zeros; 0 for what is not.
func windowBits(v []byte) int {
	switch {
	case len(v) == 1 && (v[0] == '8' || v[0] == '9'):
		return int(v[0] - '0')
	case len(v) == 2 && v[0] == '1' && v[1] >= '0' && v[1] <= '5':
		return 10 + int(v[1]-'0')
	}
	return 0
}

// extensionParser reads the grammar of RFC 6455 section 9.1, with white space between any two of
// its parts, as RFC 2616 section 2.1 implies it.
type extensionParser struct{ rest []byte }

// offer reads a name with its parameters. An offer of something else than permessage-deflate is
// declined, whatever its parameters.
func (p *extensionParser) offer() (o deflateOffer, ok bool) {
	name := p.token()
	if len(name) == 0 {
		return o, false
	}
	o.declined = string(name) != "permessage-deflate"
	for p.take(';') {
		name := p.token()
		if len(name) == 0 {
			return o, false
		}
		var value []byte
		if p.take('=') {
			if value = p.value(); len(value) == 0 {
				return o, false
			}
		}
		o.param(name, value)
	}
	return o, true
}

// take takes c, and the white space around it, if c is next.
func (p *extensionParser) take(c byte) bool {
	p.space()
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	p.space()
	return true
}

func (p *extensionParser) space() {
	for len(p.rest) > 0 && (p.rest[0] == ' ' || p.rest[0] == '\t') {
		p.rest = p.rest[1:]
	}
}

// token takes a token, empty if none is next.
func (p *extensionParser) token() []byte {
	n := 0
	for n < len(p.rest) && isTokenByte(p.rest[n]) {
		n++
	}
	t := p.rest[:n]
	p.rest = p.rest[n:]
	return t
}

// value takes a token or a quoted string that is a token once its quotes and escapes are off; empty
// if neither is next.
func (p *extensionParser) value() []byte {
	if len(p.rest) == 0 || p.rest[0] != '"' {
		return p.token()
	}
	var v []byte
	for i := 1; i < len(p.rest); i++ {
		c := p.rest[i]
		if c == '"' {
			p.rest = p.rest[i+1:]
			return v
		}
		if c == '\\' && i+1 < len(p.rest) {
			i++
			c = p.rest[i]
		}
		if !isTokenByte(c) {
			return nil
		}
		v = append(v, c)
	}
	return nil
}

// isTokenByte is RFC 9110 section 5.6.2.
func isTokenByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	case c == '!', c >= '#' && c <= '\'', c == '*', c == '+', c == '-', c == '.':
		return true
	default:
		return c == '^' || c == '_' || c == '`' || c == '|' || c == '~'
	}
}
