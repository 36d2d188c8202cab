package replay

import (
	"errors"
	"net/netip"
	"strings"
)

// errCommon says that a line is in none of the formats.
var errCommon = errors.New("it is neither JSON nor the common or combined format: host ident user [time] \"request\" status bytes")

// common reads a line of nginx's or Apache's common or combined format, also with the name of the virtual host before all; what is
// behind its end is not looked at.
func (l *layout) common(line string, v raw) error {
	head, rest, ok := strings.Cut(line, " [")
	if !ok {
		return errCommon
	}
	stamp, rest, ok := strings.Cut(rest, "] \"")
	if !ok {
		return errCommon
	}
	// host ident user: a user may have spaces.
	host, user, ok := strings.Cut(head, " ")
	if ok && !isAddress(host) {
		if second, behind, has := strings.Cut(user, " "); has && isAddress(second) {
			v[roleHost], host, user = host, second, behind
		}
	}
	_, user, ok2 := strings.Cut(user, " ")
	if !ok || !ok2 {
		return errCommon
	}
	v[roleClient], v[roleIdentity], v[roleTime] = host, user, stamp
	if v[roleRequest], rest, ok = cutQuoted(rest); !ok {
		return errCommon
	}
	v[roleStatus], rest, ok = strings.Cut(strings.TrimPrefix(rest, " "), " ")
	if !ok {
		return errCommon
	}
	v[roleSent], rest, _ = strings.Cut(rest, " ")
	for _, at := range []int{l.referer, l.agent} {
		quoted, isQuoted := strings.CutPrefix(rest, `"`)
		if !isQuoted {
			break
		}
		value, behind, ok := cutQuoted(quoted)
		if !ok {
			return errCommon
		}
		if at >= 0 {
			v[at] = unlessDash(value)
		}
		rest = strings.TrimPrefix(behind, " ")
	}
	return nil
}

func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

// cutQuoted is what is before the next quote that is not escaped, without its escapes, and what is behind it.
func cutQuoted(s string) (value, rest string, ok bool) {
	escaped := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			value = s[:i]
			if escaped {
				value = unescape(value)
			}
			return value, s[i+1:], true
		}
	}
	return "", "", false
}

// unescape undoes the escapes of nginx (\x22) and Apache (\", \\, \t, \x0a). What is none stays.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case '"', '\\':
			b.WriteByte(c)
		case 'x':
			if i+2 < len(s) {
				hi, lo := strings.IndexByte(hexDigits, lower(s[i+1])), strings.IndexByte(hexDigits, lower(s[i+2]))
				if hi >= 0 && lo >= 0 {
					b.WriteByte(byte(hi<<4 | lo)) //nolint:gosec // two nibbles
					i += 2
					continue
				}
			}
			b.WriteString(`\x`)
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	return b.String()
}

const hexDigits = "0123456789abcdef"

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
