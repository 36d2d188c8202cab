package http1

import "bytes"

// validHost takes a name or an address of a host, and a port (RFC 3986 section 3.2.2). Percent escapes and
// the marks that only its grammar allows in names are refused: no host has them, and parsers differ about them.
func validHost(b []byte) bool {
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		return end > 0 && isIPv6(b[1:end]) && (end+1 == len(b) || b[end+1] == ':' && isPort(b[end+2:]))
	}
	host, port, has := bytes.Cut(b, []byte(":"))
	return len(host) > 0 && all(host, hostByte) && (!has || isPort(port))
}

func isPort(b []byte) bool { return len(b) > 0 && len(b) <= 5 && isDigits(b) }

func isDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// isIPv6 is IPv6address of RFC 3986, without a zone.
func isIPv6(b []byte) bool {
	groups, gap := 0, false
	if bytes.HasPrefix(b, []byte("::")) {
		gap, b = true, b[2:]
	}
	for len(b) > 0 {
		end := bytes.IndexByte(b, ':')
		if end < 0 {
			if bytes.IndexByte(b, '.') >= 0 {
				return isIPv4(b) && fills(groups+2, gap)
			}
			end = len(b)
		}
		if end == 0 || end > 4 {
			return false
		}
		for _, c := range b[:end] {
			if unhex(c) > 15 {
				return false
			}
		}
		groups++
		if b = b[end:]; len(b) == 0 {
			break
		}
		if b = b[1:]; len(b) == 0 {
			return false // it ends in one colon
		}
		if b[0] == ':' {
			if gap {
				return false
			}
			gap, b = true, b[1:]
		}
	}
	return fills(groups, gap)
}

// fills reports whether groups, and a gap that stands for one or more, make an address.
func fills(groups int, gap bool) bool {
	if gap {
		return groups < 8
	}
	return groups == 8
}

func isIPv4(b []byte) bool {
	for i := range 4 {
		part, rest, more := bytes.Cut(b, []byte("."))
		if more != (i < 3) || len(part) == 0 || len(part) > 3 || !isDigits(part) || len(part) > 1 && part[0] == '0' {
			return false
		}
		n := 0
		for _, c := range part {
			n = n*10 + int(c-'0')
		}
		if n > 255 {
			return false
		}
		b = rest
	}
	return true
}
