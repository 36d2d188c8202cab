package trace

// parent is what a traceparent says.
type parent struct {
	id      [16]byte
	span    [8]byte
	sampled bool
}

// parse reads a traceparent: W3C Trace Context, section 3.2. Of a version that is not known what is as in version 00 is read.
func parse(s string) (p parent, ok bool) {
	const whole = 55
	if len(s) < whole || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return p, false
	}
	var version, flags [1]byte
	if !unhex(version[:], s[:2]) || version[0] == 0xff || version[0] == 0 && len(s) != whole || len(s) > whole && s[whole] != '-' {
		return p, false
	}
	if !unhex(p.id[:], s[3:35]) || !unhex(p.span[:], s[36:52]) || !unhex(flags[:], s[53:55]) {
		return p, false
	}
	p.sampled = flags[0]&1 != 0
	return p, p.id != [16]byte{} && p.span != [8]byte{}
}

// unhex reads digits in lower case, which are the only ones there may be.
func unhex(to []byte, s string) bool {
	for i := range to {
		hi, ok := digit(s[2*i])
		lo, also := digit(s[2*i+1])
		if !ok || !also {
			return false
		}
		to[i] = hi<<4 | lo
	}
	return true
}

func digit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
