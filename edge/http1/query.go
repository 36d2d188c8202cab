package http1

import "bytes"

// PathUnescape appends a path with its percent escapes decoded.
func PathUnescape(dst, path []byte) ([]byte, error) { return unescape(dst, path, false) }

// checkEscapes refuses a percent sign that begins no escape: two parsers read it in two ways.
func checkEscapes(b []byte) error {
	for i, c := range b {
		if c == '%' && (i+2 >= len(b) || unhex(b[i+1]) > 15 || unhex(b[i+2]) > 15) {
			return ErrEscape
		}
	}
	return nil
}

// QueryValues calls yield with each name and value of a query, decoded, until it returns
// false. They live until yield returns.
func QueryValues(raw []byte, yield func(name, value []byte) bool) error {
	var buf [256]byte
	for len(raw) > 0 {
		pair, rest, _ := bytes.Cut(raw, []byte("&"))
		raw = rest
		if len(pair) == 0 {
			continue
		}
		k, v, _ := bytes.Cut(pair, []byte("="))
		both, err := unescape(buf[:0], k, true)
		if err != nil {
			return err
		}
		n := len(both)
		if both, err = unescape(both, v, true); err != nil {
			return err
		}
		if !yield(both[:n:n], both[n:]) {
			return nil
		}
	}
	return nil
}

func unescape(dst, b []byte, plusIsSpace bool) ([]byte, error) {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '%':
			if i+2 >= len(b) {
				return dst, ErrEscape
			}
			hi, lo := unhex(b[i+1]), unhex(b[i+2])
			if hi > 15 || lo > 15 {
				return dst, ErrEscape
			}
			dst = append(dst, hi<<4|lo)
			i += 2
		case c == '+' && plusIsSpace:
			dst = append(dst, ' ')
		default:
			dst = append(dst, c)
		}
	}
	return dst, nil
}

// unhex is the value of a hexadecimal digit, above 15 if it is none.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
