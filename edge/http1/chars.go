package http1

import "encoding/binary"

// What a byte may be part of.
const (
	tokenByte  = 1 << iota // RFC 9110 section 5.6.2
	hostByte               // of a name of a host: letters, digits, and - . _ ~
	targetByte             // visible ASCII but #
	valueByte              // RFC 9110 section 5.5: visible ASCII, space, tab, and bytes beyond ASCII
)

var classes, folded = classify()

// classify makes the tables: what each byte may be part of, and which it is the same as in a name.
func classify() (t, same [256]byte) {
	for i := range t {
		c := byte(i)
		same[i] = lower(c)
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			t[i] |= tokenByte | hostByte
		}
		if c > ' ' && c < 0x7f && c != '#' {
			t[i] |= targetByte
		}
		if c >= ' ' && c != 0x7f || c == '\t' {
			t[i] |= valueByte
		}
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		t[c] |= tokenByte
	}
	for _, c := range []byte("-._~") {
		t[c] |= hostByte
	}
	same['_'] = '-'
	return t, same
}

func all(b []byte, class byte) bool {
	for _, c := range b {
		if classes[c]&class == 0 {
			return false
		}
	}
	return true
}

// isValue is all of valueByte.
func isValue(b []byte) bool { return all(b[plainBytes(b):], valueByte) }

// plainBytes is how many bytes b begins with that a value may have, but for tabs.
func plainBytes(b []byte) (n int) {
	for ; len(b)-n >= 8; n += 8 {
		if isOdd(binary.LittleEndian.Uint64(b[n:])) {
			break
		}
	}
	for n < len(b) && b[n] >= ' ' && b[n] != 0x7f {
		n++
	}
	return n
}

// isOdd reports whether any of eight bytes is below a space or DEL; see "Determine if a word has a byte less than n" of Anderson's
// Bit Twiddling Hacks.
func isOdd(x uint64) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	del := x ^ each*0x7f
	return ((x-each*' ')&^x|(del-each)&^del)&high != 0
}

func isToken(b []byte) bool { return len(b) > 0 && all(b, tokenByte) }

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

// sameName compares names of fields as the most lenient reader does: without case, and with _ as -, which
// is what a CGI-like server makes of both.
func sameName(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(b) {
		if folded[b[i]] != folded[s[i]] {
			return false
		}
	}
	return true
}

// matches is sameName, with a pattern that ends in * for all names that begin so.
func matches(name []byte, pattern string) bool {
	if n := len(pattern) - 1; pattern[n] == '*' {
		return len(name) >= n && sameName(name[:n], pattern[:n])
	}
	return sameName(name, pattern)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
