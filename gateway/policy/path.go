package policy

import (
	"errors"
	"strings"
)

// ErrAmbiguousPath says that gateway and upstream could read a path in two ways.
var ErrAmbiguousPath = errors.New("the path can be read in two ways: send it without dot segments, empty segments, encoded slashes, backslashes or control characters")

// cleanPath is the path as it is matched: with its escapes decoded. What upstreams resolve in ways of their own is
// refused, since a route's rules could be walked around by it: /public/../admin, /public/%2e%2e/admin, //admin.
func (r *Rules) cleanPath(path string, buf []byte) (string, []byte, error) {
	decoded := path
	if strings.IndexByte(path, '%') >= 0 {
		var ok bool
		if buf, ok = r.decode(buf[:0], path); !ok {
			return "", buf, ErrAmbiguousPath
		}
		decoded = lend(buf)
	}
	if decoded == "" || decoded[0] != '/' {
		if decoded == "*" { // OPTIONS *
			return decoded, buf, nil
		}
		return "", buf, ErrAmbiguousPath
	}
	for i := 0; i < len(decoded); i++ {
		switch c := decoded[i]; {
		case c == '\\' || c < ' ' || c == 0x7f:
			return "", buf, ErrAmbiguousPath
		case c == '/' && !r.isSegment(decoded[i+1:]):
			return "", buf, ErrAmbiguousPath
		}
	}
	return decoded, buf, nil
}

// isSegment reports whether what follows a slash begins with a segment that all read in one way.
func (r *Rules) isSegment(rest string) bool {
	if end := strings.IndexByte(rest, '/'); end >= 0 {
		if end == 0 && !r.cfg.LoosePaths {
			return false
		}
		rest = rest[:end]
	}
	if semi := strings.IndexByte(rest, ';'); semi >= 0 { // parameters, which some servers take off first
		rest = rest[:semi]
	}
	return rest != "." && rest != ".."
}

// decode appends a path with its percent escapes decoded, but for slashes, which stay what they are not: separators.
func (r *Rules) decode(b []byte, path string) (_ []byte, ok bool) {
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c != '%' {
			b = append(b, c)
			continue
		}
		if i+2 >= len(path) {
			return b, false
		}
		hi, lo := unhex(path[i+1]), unhex(path[i+2])
		if hi < 0 || lo < 0 {
			return b, false
		}
		c = byte(hi<<4 | lo) //nolint:gosec // two nibbles
		if c == '/' {
			if !r.cfg.LoosePaths {
				return b, false
			}
			b = append(b, path[i:i+3]...)
		} else {
			b = append(b, c)
		}
		i += 2
	}
	return b, true
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
