package policy

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/ratelimit"
	"weir/ratelimit/fields"
	"weir/token"
)

// AppendTold appends the lines that an answer has of the client's quotas, each with CRLF: RateLimit-Policy and RateLimit, and
// the older ones if the route says so. Policies in shadow are not told of.
func (x *Exchange) AppendTold(b []byte) []byte {
	if x.decided == 0 || x.Route.Tell == TellNone {
		return b
	}
	if start := len(b); x.n == len(x.set.policies) && x.decided == x.n {
		b = append(b, x.set.told...)
		if len(b) == start { // all are in shadow
			return b
		}
	} else if b = appendPolicies(b, x.of[:x.decided]); len(b) == start {
		return b
	}
	b = append(b, "RateLimit: "...)
	start := len(b)
	for i := range x.decided {
		if !x.checks[i].Shadow {
			b = append(b[:start], fields.AppendLimit(b[start:], x.checks[i].Limit, x.decisions[i])...)
		}
	}
	b = append(b, "\r\n"...)
	if x.Route.Tell == TellBoth {
		if i := x.tightest(); i >= 0 {
			b = fields.AppendOld(b, x.checks[i].Limit, x.decisions[i])
		}
	}
	return b
}

func appendPolicies(b []byte, all []*compiled) []byte {
	const name = "RateLimit-Policy: "
	b = append(b, name...)
	start := len(b)
	for _, p := range all {
		if !p.Shadow {
			b = append(b[:start], fields.AppendPolicy(b[start:], p.limit)...)
		}
	}
	if len(b) == start {
		return b[:start-len(name)]
	}
	return append(b, "\r\n"...)
}

// tightest is the check of which the least part is left, -1 for none.
func (x *Exchange) tightest() (at int) {
	at = -1
	least := 2.0
	for i := range x.decided {
		c := &x.checks[i]
		if left := float64(x.decisions[i].Remaining) / float64(max(c.Limit.Count(), 1)); !c.Shadow && left < least {
			at, least = i, left
		}
	}
	return at
}

// ContentType is that of the body of a refusal.
const ContentType = fields.ProblemType

// AppendRefusal appends the lines of a refusal's head that say what the client is to do, each with CRLF: Retry-After, WWW-Authenticate,
// Allow. random spreads those who are refused together.
func (x *Exchange) AppendRefusal(b []byte, o Outcome, random uint32) []byte {
	wait := time.Duration(0)
	switch o {
	case Limited:
		wait = x.wait()
	case Shed, Unavailable:
		wait = time.Second
	case NoMethod:
		b = append(b, "Allow: "...)
		b = append(b, strings.Join(x.methods(), ", ")...)
		b = append(b, "\r\n"...)
	case Unauthorized:
		b = append(b, "WWW-Authenticate: Bearer"...)
		if x.Err != ErrNoCredential { //nolint:errorlint // it is never wrapped
			b = append(b, ` error="invalid_token"`...)
		}
		b = append(b, "\r\n"...)
	}
	const name = "Retry-After: "
	b = append(b, name...)
	b, ok := fields.AppendRetryAfter(b, wait, random)
	if !ok {
		return b[:len(b)-len(name)]
	}
	return append(b, "\r\n"...)
}

// wait is after how long all that refused would allow the same.
func (x *Exchange) wait() (most time.Duration) {
	for i := range x.decided {
		if d := &x.decisions[i]; !d.Allowed && !x.checks[i].Shadow {
			most = max(most, d.RetryAfter)
		}
	}
	return most
}

func (x *Exchange) methods() (all []string) {
	for _, r := range x.Allow {
		all = append(all, r.Methods...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// AppendBody appends the body of a refusal, a problem of RFC 9457.
func (x *Exchange) AppendBody(b []byte, o Outcome) []byte {
	switch o {
	case Limited:
		if by, alone := x.refusedBy(); alone {
			return append(b, by.body...)
		}
		return fields.AppendProblem(b, fields.QuotaExceeded, o.Status(), x.checks[:x.decided], x.decisions[:x.decided])
	case Shed, Unavailable:
		return fields.AppendProblem(b, fields.TemporaryReducedCapacity, o.Status(), nil, nil)
	}
	return AppendProblem(b, o.Status(), x.detail(o))
}

// refusedBy is a policy that refused, and whether no other one did.
func (x *Exchange) refusedBy() (by *compiled, alone bool) {
	for i := range x.decided {
		if x.decisions[i].Allowed || x.checks[i].Shadow {
			continue
		}
		if by != nil {
			return by, false
		}
		by = x.of[i]
	}
	return by, by != nil
}

// detail says what is wrong, and what to do. Of a token it says no more than which of its package's errors it is.
func (x *Exchange) detail(o Outcome) string {
	switch o {
	case NoRoute:
		return "no route is for this host and path"
	case NoMethod:
		return "the path takes other methods: see Allow"
	case TooLarge:
		return "the body is longer than " + strconv.FormatInt(x.Route.MaxBody, 10) + " bytes"
	case Incomplete:
		return "a header or claim by which a quota tells clients apart is missing"
	}
	if x.Err == nil {
		return ""
	}
	if public := token.Public(x.Err); public != nil {
		return public.Error()
	}
	return x.Err.Error()
}

// AppendProblem appends a problem without a type of its own: RFC 9457, section 4.2.1.
func AppendProblem(b []byte, status int, detail string) []byte {
	b = append(b, `{"type":"about:blank","title":"`...)
	b = append(b, http.StatusText(status)...)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	if detail != "" {
		quoted, err := json.Marshal(detail)
		if err != nil { // a string always is JSON
			panic(err)
		}
		b = append(b, `,"detail":`...)
		b = append(b, quoted...)
	}
	return append(b, '}')
}

// Violated calls yield with each policy that refused, or, in shadow, would have.
func (x *Exchange) Violated(yield func(name string, shadow bool, d ratelimit.Decision) bool) {
	for i := range x.decided {
		if name, shadow, d := x.At(i); !d.Allowed && !yield(name, shadow, d) {
			return
		}
	}
}
