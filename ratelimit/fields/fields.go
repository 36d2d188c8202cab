// Package fields writes what an HTTP client is told of its quotas: the fields RateLimit-Policy and RateLimit
// (draft-ietf-httpapi-ratelimit-headers-11), Retry-After (RFC 9110, section 10.2.3), the older X-RateLimit ones, and
// the problem (RFC 9457) in the body of a refusal. It appends to the caller's bytes, allocates nothing else, and does
// no I/O.
package fields

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"weir/ratelimit"
)

// ErrBadName says that a policy's name cannot be told.
var ErrBadName = errors.New("bad policy name")

// CheckName says why a policy's name cannot be told: it is a string of RFC 9651, section 3.3.3, printable ASCII.
func CheckName(name string) error {
	for i := range len(name) {
		if name[i] < 0x20 || name[i] > 0x7e {
			return fmt.Errorf("%w %q: clients are told it: want printable ASCII", ErrBadName, name)
		}
	}
	if name == "" {
		return fmt.Errorf("%w: it is empty", ErrBadName)
	}
	return nil
}

// AppendPolicy appends a member of RateLimit-Policy to those before it, which are all of b:
//
//	"burst";q=100;w=60, "bytes";q=1000000;w=1;qu="content-bytes"
//
// w is in seconds, rounded up; without one, of concurrent requests. It is the same for every answer.
func AppendPolicy(b []byte, l *ratelimit.Limit) []byte {
	b = appendName(b, l.Name())
	b = append(b, ";q="...)
	b = appendInteger(b, l.Count())
	if w := seconds(l.Window()); w > 0 {
		b = append(b, ";w="...)
		b = appendInteger(b, w)
	}
	if u := l.Unit(); u != ratelimit.UnitRequests {
		b = append(b, `;qu="`...)
		b = append(b, u.String()...)
		b = append(b, '"')
	}
	return b
}

// AppendLimit appends a member of RateLimit to those before it, which are all of b:
//
//	"burst";r=50;t=30
//
// r is what remains, t the seconds after which all is there again, rounded up; none if all is.
func AppendLimit(b []byte, l *ratelimit.Limit, d ratelimit.Decision) []byte {
	b = appendName(b, l.Name())
	b = append(b, ";r="...)
	b = appendInteger(b, d.Remaining)
	if d.Reset > 0 {
		b = append(b, ";t="...)
		b = appendInteger(b, seconds(d.Reset))
	}
	return b
}

// AppendRetryAfter appends the seconds of Retry-After after which a refused request would be allowed, rounded up,
// and up to a tenth more, or a second, as random says, so that those refused together do not come back together. It
// reports false, and appends nothing, if that is never, or nobody knows.
func AppendRetryAfter(b []byte, wait time.Duration, random uint32) (_ []byte, ok bool) {
	if wait <= 0 || wait == ratelimit.Never {
		return b, false
	}
	s := seconds(wait)
	spread := max(s/10, 1) + 1
	return appendInteger(b, s+uint64(random)*spread>>32), true
}

// AppendOld appends the lines X-RateLimit-Limit, -Remaining and -Reset, the last in seconds from now: what most
// clients read. Each ends in CRLF.
func AppendOld(b []byte, l *ratelimit.Limit, d ratelimit.Decision) []byte {
	b = append(b, "X-RateLimit-Limit: "...)
	b = appendInteger(b, l.Count())
	b = append(b, "\r\nX-RateLimit-Remaining: "...)
	b = appendInteger(b, d.Remaining)
	b = append(b, "\r\nX-RateLimit-Reset: "...)
	b = appendInteger(b, seconds(d.Reset))
	return append(b, "\r\n"...)
}

// Reason is why a request is refused: a type of problem, by its fragment in IANA's registry.
type Reason string

// The reasons of the draft, section "Problem Types".
const (
	QuotaExceeded            Reason = "quota-exceeded"
	TemporaryReducedCapacity Reason = "temporary-reduced-capacity"
	AbnormalUsageDetected    Reason = "abnormal-usage-detected"
)

var titles = map[Reason]string{
	QuotaExceeded:            "The quota of this client is used up",
	TemporaryReducedCapacity: "The server has less capacity than usual",
	AbnormalUsageDetected:    "The usage of this client is not normal",
}

// ProblemType is the media type of [AppendProblem].
const ProblemType = "application/problem+json"

// AppendProblem appends the body of a refusal, with the policies that refused:
//
//	{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"…","status":429,"violated-policies":["burst"]}
func AppendProblem(b []byte, reason Reason, status int, checks []ratelimit.Check, decisions []ratelimit.Decision) []byte {
	b = append(b, `{"type":"https://iana.org/assignments/http-problem-types#`...)
	b = append(b, reason...)
	b = append(b, `","title":"`...)
	b = append(b, titles[reason]...)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"violated-policies":[`...)
	first := true
	for i := range checks {
		if decisions[i].Allowed || checks[i].Shadow {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendQuoted(b, checks[i].Limit.Name())
	}
	return append(b, "]}"...)
}

// appendName begins a member of a list.
func appendName(b []byte, name string) []byte {
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	return appendQuoted(b, name)
}

// appendQuoted appends a string that both RFC 9651 and JSON read as the name, which [CheckName] has checked: in
// both, quotes and backslashes are behind one.
func appendQuoted(b []byte, name string) []byte {
	b = append(b, '"')
	for i := range len(name) {
		if name[i] == '"' || name[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, name[i])
	}
	return append(b, '"')
}

// maxInteger is the largest of RFC 9651, section 3.3.1.
const maxInteger = 999_999_999_999_999

func appendInteger(b []byte, n uint64) []byte { return strconv.AppendUint(b, min(n, maxInteger), 10) }

// seconds is d rounded up.
func seconds(d time.Duration) uint64 {
	if d == math.MaxInt64 {
		return maxInteger
	}
	return uint64((d + time.Second - 1) / time.Second) //nolint:gosec // not negative
}
