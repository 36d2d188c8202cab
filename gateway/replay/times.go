package replay

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// errBadNumber says that a text is no decimal number, or out of range.
var errBadNumber = errors.New("not a number in range")

// Bounds of times: what a clock of 64 bits in nanoseconds has, and nobody's logs go beyond.
const (
	minUnix = 0
	maxUnix = 9e9
)

// parseTime reads a time as logs have it: RFC 3339, 02/Jan/2006:15:04:05 -0700, or seconds, milliseconds, microseconds or
// nanoseconds since 1970, told apart by their size. Nanoseconds since 1970.
func parseTime(text string) (int64, error) {
	bad := func() (int64, error) {
		return 0, fmt.Errorf("its time is %.60q: want RFC 3339, 02/Jan/2006:15:04:05 -0700, or seconds since 1970", text)
	}
	if len(text) > 10 && text[4] == '-' {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil || t.Unix() < minUnix || t.Unix() > maxUnix {
			return bad()
		}
		return t.UnixNano(), nil
	}
	if len(text) > 10 && text[2] == '/' {
		ns, ok := parseCommon(text)
		if !ok {
			return bad()
		}
		return ns, nil
	}
	ns, err := parseEpoch(text)
	if err != nil {
		return bad()
	}
	return ns, nil
}

// parseEpoch reads a count since 1970: above 1e11 it is milliseconds, above 1e14 microseconds, above 1e17 nanoseconds.
func parseEpoch(text string) (int64, error) {
	whole := 0
	for whole < len(text) && '0' <= text[whole] && text[whole] <= '9' {
		whole++
	}
	scale := int64(1)
	switch {
	case whole > 17:
		scale = 1e9
	case whole > 14:
		scale = 1e6
	case whole > 11:
		scale = 1e3
	}
	if scale == 1 {
		ns, err := parseDecimal(text)
		if err != nil || ns < minUnix || ns > maxUnix*int64(time.Second) {
			return 0, errBadNumber
		}
		return ns, nil
	}
	if whole != len(text) {
		return 0, errBadNumber
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > math.MaxInt64/(int64(time.Second)/scale) {
		return 0, errBadNumber
	}
	if n *= int64(time.Second) / scale; n > maxUnix*int64(time.Second) {
		return 0, errBadNumber
	}
	return n, nil
}

// parseDecimal reads a decimal number of seconds as nanoseconds, exactly: of more than nine digits of a fraction the others are cut.
func parseDecimal(text string) (int64, error) {
	digits, fraction, n := 0, -1, int64(0)
	for i := range len(text) {
		c := text[i]
		switch {
		case '0' <= c && c <= '9':
			digits++
			if fraction >= 9 {
				continue
			}
			if fraction >= 0 {
				fraction++
			}
			if n > (math.MaxInt64-9)/10 {
				return 0, errBadNumber
			}
			n = 10*n + int64(c-'0')
		case c == '.' && fraction < 0 && digits > 0:
			fraction = 0
		default:
			return parseFloat(text)
		}
	}
	if digits == 0 {
		return 0, errBadNumber
	}
	for ; fraction < 9; fraction++ {
		if fraction < 0 {
			fraction = 0
		}
		if n > math.MaxInt64/10 {
			return 0, errBadNumber
		}
		n *= 10
	}
	return n, nil
}

// parseFloat reads what has an exponent or a sign.
func parseFloat(text string) (int64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f*1e9 < math.MaxInt64) {
		return 0, errBadNumber
	}
	return int64(math.Round(f * 1e9)), nil
}

// months are as logs have them.
const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// parseCommon reads 02/Jan/2006:15:04:05 -0700.
func parseCommon(s string) (int64, bool) {
	const layout = "02/Jan/2006:15:04:05 -0700"
	if len(s) != len(layout) || s[2] != '/' || s[6] != '/' || s[11] != ':' || s[14] != ':' || s[17] != ':' || s[20] != ' ' {
		return 0, false
	}
	ok := true
	number := func(from, to int) (n int) {
		for _, c := range []byte(s[from:to]) {
			if c < '0' || c > '9' {
				ok = false
			}
			n = 10*n + int(c-'0')
		}
		return n
	}
	month := 0
	for i := 0; i < len(months); i += 3 {
		if months[i:i+3] == s[3:6] {
			month = i/3 + 1
		}
	}
	day, year, hour, minute, second := number(0, 2), number(7, 11), number(12, 14), number(15, 17), number(18, 20)
	zone := 60*number(22, 24) + number(24, 26)
	switch s[21] {
	case '-':
		zone = -zone
	case '+':
	default:
		return 0, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if !ok || month == 0 || t.Day() != day || hour > 23 || minute > 59 || second > 60 || t.Unix() < minUnix+86400 || t.Unix() > maxUnix-86400 {
		return 0, false
	}
	return (t.Unix() - 60*int64(zone)) * int64(time.Second), true
}
