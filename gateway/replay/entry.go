package replay

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"weir/gateway/policy"
)

// role is what a field of a line says.
type role uint8

const (
	roleTime role = iota // when it was logged: when the request ended
	roleBegun
	roleClient
	roleForwarded
	roleIdentity
	roleRequest // GET /path HTTP/1.1
	roleMethod
	roleHost
	rolePath
	roleStatus
	roleOutcome
	roleSeconds
	roleReceived
	roleSent
	roles // those of keys follow
)

var roleNames = [roles]string{
	"time", "begun", "client", "forwarded", "identity", "request", "method", "host", "path", "status", "outcome", "seconds", "received", "sent",
}

// Roles are what [Config.Fields] can name fields for: time (when a request ended), begun, client, forwarded (what proxies say of who the
// client is, as in X-Forwarded-For), identity, request (method, path and version in one), method, host, path, status, outcome (as weir has
// it), seconds (how long it took), received and sent (bytes of bodies).
func Roles() []string { return roleNames[:] }

// raw is a line's values by role, those of keys behind; empty for none.
type raw []string

// entry is a request, as its line has it.
type entry struct {
	// begun is when it began, nanoseconds since 1970.
	begun int64
	// took is how long, if timed.
	took  time.Duration
	timed bool
	// coarse says that the line's time was in whole seconds.
	coarse bool

	client                                  netip.Addr
	identity, method, host, path, forwarded string
	received, sent                          int64
	// status is 0 if the line has none, as is outcome if decided is not set.
	status  int
	outcome policy.Outcome
	decided bool
	// keys are what policies are keyed by, as Config has them.
	keys []string

	seq    uint64 // in its log
	line   uint64
	source int
}

// Errors of a line.
var (
	errNoTime   = errors.New("it has no time")
	errNoClient = errors.New("it has no client")
)

// fill makes an entry of a line's values.
func (e *entry) fill(v raw) (err error) {
	*e = entry{keys: append(e.keys[:0], v[roles:]...)}
	if err = e.fillTimes(v); err != nil {
		return err
	}
	if e.client, err = parseClient(v[roleClient]); err != nil {
		return err
	}
	e.method, e.host, e.path = v[roleMethod], v[roleHost], v[rolePath]
	if e.method == "" && e.path == "" {
		e.method, e.path = cutRequest(v[roleRequest])
	}
	e.splitTarget()
	e.forwarded = unlessDash(v[roleForwarded])
	e.identity = unlessDash(v[roleIdentity])
	for _, n := range []struct {
		name string
		role role
		to   *int64
	}{{"received", roleReceived, &e.received}, {"sent", roleSent, &e.sent}} {
		if text := unlessDash(v[n.role]); text != "" {
			if *n.to, err = strconv.ParseInt(text, 10, 64); err != nil || *n.to < 0 {
				return fmt.Errorf("its bytes %s are %.40q: want a number", n.name, text)
			}
		}
	}
	if text := unlessDash(v[roleStatus]); text != "" {
		if e.status, err = strconv.Atoi(text); err != nil || e.status < 0 || e.status > 999 {
			return fmt.Errorf("its status is %.40q: want a number", text)
		}
	}
	return nil
}

// fillTimes sets when the request began. weir's own log has that, others when it ended.
func (e *entry) fillTimes(v raw) (err error) {
	e.outcome, e.decided = parseOutcome(v[roleOutcome])
	if text := unlessDash(v[roleSeconds]); text != "" {
		ns, err := parseDecimal(text)
		if err != nil || ns < 0 || ns > int64(maxTook) {
			return fmt.Errorf("it took %.40q: want seconds", text)
		}
		e.took, e.timed = time.Duration(ns), true
	}
	text, ended := v[roleBegun], false
	if text == "" {
		text, ended = v[roleTime], !e.decided
	}
	if text == "" {
		return errNoTime
	}
	if e.begun, err = parseTime(text); err != nil {
		return err
	}
	e.coarse = e.begun%int64(time.Second) == 0
	if ended {
		e.begun -= int64(e.took)
	}
	return nil
}

// maxTook bounds how long a request can have taken.
const maxTook = 7 * 24 * time.Hour

func unlessDash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

// parseClient reads an address, which may have a port.
func parseClient(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, errNoClient
	}
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil {
		return a.Unmap().WithZone(""), nil
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), nil
	}
	return netip.Addr{}, fmt.Errorf("its client is %.60q: want an address", text)
}

// outcomes are by name.
var outcomes = func() map[string]policy.Outcome {
	all := map[string]policy.Outcome{}
	for _, o := range policy.Outcomes() {
		all[o.String()] = o
	}
	return all
}()

func parseOutcome(text string) (o policy.Outcome, ok bool) {
	o, ok = outcomes[text]
	return o, ok
}

// cutRequest reads "GET /path HTTP/1.1".
func cutRequest(text string) (method, target string) {
	method, rest, ok := strings.Cut(text, " ")
	if !ok {
		return "", ""
	}
	if i := strings.LastIndexByte(rest, ' '); i >= 0 && strings.HasPrefix(rest[i+1:], "HTTP/") {
		rest = rest[:i]
	}
	return method, rest
}

// splitTarget takes host and query off the path.
func (e *entry) splitTarget() {
	if _, rest, ok := strings.Cut(e.path, "://"); ok && !strings.HasPrefix(e.path, "/") {
		slash := strings.IndexByte(rest, '/')
		if slash < 0 {
			slash = len(rest)
		}
		e.host, e.path = rest[:slash], rest[slash:]
		if e.path == "" {
			e.path = "/"
		}
	}
	if i := strings.IndexByte(e.path, '?'); i >= 0 {
		e.path = e.path[:i]
	}
}

// asked reports whether the gateway came to ask quotas about the request, as far as the line says; else why not.
func (e *entry) asked() (why policy.Outcome, ok bool) {
	switch {
	case !e.decided:
		// A head that could not be read: such lines have no request.
		return policy.Malformed, e.method != "" || e.path != ""
	case e.outcome == policy.Admitted, e.outcome == policy.Limited, e.outcome == policy.Incomplete, e.outcome == policy.Unavailable:
		return e.outcome, true
	}
	return e.outcome, false
}
