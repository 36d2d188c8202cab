package policy

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"weir/ratelimit"
	"weir/token"
)

// Fields are the fields of a request's head.
type Fields interface {
	// At is the i-th value of the fields of a name in its canonical form, such as X-Api-Key. It lives as long as the head.
	At(name string, i int) (value string, ok bool)
}

// Request is what is known of a request when its head has come. All of it is lent until the Exchange ends.
type Request struct {
	Method, Host string
	// Path is as it came, without the query.
	Path   string
	Fields Fields
	// Peer is the conn's other end.
	Peer netip.Addr
	// ContentLength is -1 if it is not known.
	ContentLength int64
}

// Exchange is the state of one request, from [Rules.Begin] to [Exchange.End]. It is for one after another, on one
// goroutine at a time.
type Exchange struct {
	// Route is nil without one, as are Consumer and Claims. Identity is empty for who is nobody.
	Route    *Route
	Client   netip.Addr
	Identity string
	Consumer *Consumer
	Claims   *token.Claims
	// Err says why a credential was refused.
	Err error
	// Later has [Rules.Open] leave the check of a token that is not known to [Exchange.Ask]. It is for who must not wait, and stays.
	Later bool
	// Shard spreads what is counted, as the record's does. It stays.
	Shard uint32
	// Allow are the routes whose methods there are, after NoMethod.
	Allow []*Route

	rules   *Rules
	request *Request
	set     *set
	path    string
	// unchecked is a token that Ask is to check.
	unchecked string
	now       uint64
	// taken and inFlight are what End gives back.
	taken, inFlight bool
	// decided is how many decisions there are: those of this process, then those of the shared store.
	decided   int
	n, local  int // checks, and those of them that are of this process
	of        [MaxChecks]*compiled
	checks    [MaxChecks]ratelimit.Check
	decisions [MaxChecks]ratelimit.Decision
	keys      []byte
	host      []byte
	clean     []byte
}

// Begin decides about a request as its head has come; now is in ticks of a clock that does not go back. Admitted has
// to be followed by [Exchange.End]. After Ask, [Exchange.Ask] decides.
func (r *Rules) Begin(now uint64, q *Request, x *Exchange) Outcome {
	if o := r.Open(now, q, x); o != Admitted {
		return o
	}
	return x.Decide()
}

// Open is the first half of [Rules.Begin]: what there is to say of a request without charging anybody. Only after Admitted
// [Exchange.Decide] is asked, unless the request is left to somebody else.
func (r *Rules) Open(now uint64, q *Request, x *Exchange) Outcome {
	x.reset(r, q, now)
	x.Client = r.clientAddress(q)
	var err error
	if x.path, x.clean, err = r.cleanPath(q.Path, x.clean); err != nil {
		x.Err = err
		return BadPath
	}
	x.Route, x.Allow, x.host = r.table.find(q.Host, q.Method, x.path, x.host)
	switch {
	case x.Route == nil && x.Allow != nil:
		return NoMethod
	case x.Route == nil:
		return NoRoute
	}
	if most := x.Route.MaxBody; most >= 0 && q.ContentLength > most {
		return TooLarge
	}
	if x.Route.Auth == AuthNone {
		return Admitted
	}
	x.Err = r.identify(q, x)
	if x.unchecked != "" {
		return Ask
	}
	return x.identified()
}

// identified is what follows from who the request is from, or from what is wrong with its credential.
func (x *Exchange) identified() Outcome {
	if x.Err == nil && x.Identity == "" && x.Route.Auth == AuthRequired {
		x.Err = ErrNoCredential
	}
	switch {
	case errors.Is(x.Err, token.ErrNoKeys):
		return Unavailable
	case x.Err != nil:
		return Unauthorized
	}
	return Admitted
}

// Checks reports whether Ask, which Open has said, is for a token to be checked: work for a CPU, of up to milliseconds.
func (x *Exchange) Checks() bool { return x.unchecked != "" }

// Decide is the second half: whether there is room for the request, and its client has a quota for it.
func (x *Exchange) Decide() Outcome {
	if !x.rules.deps.Flight.enter(x.Shard, x.Route.Priority, x.rules.cfg.MaxInFlight) {
		return Shed
	}
	x.inFlight = true
	o := x.charge()
	if o != Admitted && o != Ask {
		x.leave()
	}
	return o
}

// charge makes the checks, and has those of this process decided.
func (x *Exchange) charge() Outcome {
	if !x.makeChecks() {
		return Incomplete
	}
	if x.n == 0 {
		return Admitted
	}
	if x.local == x.n {
		return x.takeLocal()
	}
	if x.peekLocal() {
		return Ask
	}
	return Limited
}

// takeLocal charges the policies of this process, if they all allow it.
func (x *Exchange) takeLocal() Outcome {
	x.decided = max(x.decided, x.local)
	if x.local > 0 && !x.rules.deps.Local.Take(x.now, x.checks[:x.local], x.decisions[:x.local]) {
		return Limited
	}
	x.taken = true
	return Admitted
}

// peekLocal asks the policies of this process, without charging them.
func (x *Exchange) peekLocal() (allowed bool) {
	allowed = true
	x.decided = x.local
	for i := range x.local {
		x.decisions[i] = x.rules.deps.Local.Peek(x.now, &x.checks[i])
		allowed = allowed && (x.decisions[i].Allowed || x.checks[i].Shadow)
	}
	return allowed
}

// Ask has the shared quotas decide after Ask: it may wait for the store, as long as that is set to. What those of this process
// allowed is charged last: if it is gone by then, the shared ones have charged a request that is refused.
func (x *Exchange) Ask(ctx context.Context) Outcome {
	if x.unchecked != "" {
		claims, err := x.rules.claims.check(x.rules.deps.Tokens, x.unchecked)
		x.unchecked = ""
		if x.Err = err; err == nil {
			x.claim(claims)
		}
		if o := x.identified(); o != Admitted {
			return o
		}
		if o := x.Decide(); o != Ask {
			return o
		}
	}
	allowed, err := x.rules.deps.Shared.Take(ctx, x.checks[x.local:x.n], x.decisions[x.local:x.n])
	x.decided = x.n
	o := Limited
	switch {
	case allowed:
		o = x.takeLocal()
	case err != nil:
		x.Err = err
		o = Unavailable
	}
	if o != Admitted {
		x.leave()
	}
	return o
}

// GiveUp ends a request after Ask that there is no room to ask for.
func (x *Exchange) GiveUp() Outcome {
	x.leave()
	return Shed
}

// makeChecks makes a check of each policy that holds; ok is false if one refuses a request without its key.
func (x *Exchange) makeChecks() (ok bool) {
	set := x.set
	if set == nil {
		set = x.Route.setOf(x.rules.planOf(x))
		x.set = set
	}
	for _, p := range set.policies {
		start, skip := len(x.keys), false
		for i := range p.Key {
			var has bool
			if x.keys, has = p.Key[i].appendTo(x.keys, x); has {
				continue
			}
			switch p.Missing {
			case MissingRefuse:
				return false
			case MissingSkip:
				skip = true
			default:
				x.keys = appendAddress(x.keys[:start], x.Client, DefaultIPv4Bits, DefaultIPv6Bits)
			}
			break
		}
		if skip {
			x.keys = x.keys[:start]
			continue
		}
		x.of[x.n] = p
		x.checks[x.n] = ratelimit.Check{Limit: p.limit, Cost: x.cost(p), Shadow: p.Shadow}
		x.n++
		if !p.Shared {
			x.local++
		}
		x.checks[x.n-1].Mark = uint64(start) //nolint:gosec // where its key begins, until all are there
	}
	for i := range x.n { // keys has stopped growing, which moves it
		end := len(x.keys)
		if i+1 < x.n {
			end = int(x.checks[i+1].Mark) //nolint:gosec // an index
		}
		x.checks[i].Key = x.keys[x.checks[i].Mark:end:end]
	}
	for i := range x.n {
		x.checks[i].Mark = 0
	}
	return true
}

// cost is what the request takes of a policy as it begins. Of bytes it is what the client says that it sends, at most all that
// there can be: the rest is charged when it is known.
func (x *Exchange) cost(p *compiled) uint64 {
	switch p.limit.Unit() {
	case ratelimit.UnitContentBytes:
		return max(1, min(uint64(max(x.request.ContentLength, 0)), p.limit.Count())) //nolint:gosec // not below 0
	case ratelimit.UnitConcurrentRequests:
		return 1
	}
	return x.Route.Cost
}

// End ends a request that was admitted, with the bytes of both bodies that have moved.
func (x *Exchange) End(now uint64, received, sent int64) {
	x.leave()
	if !x.taken {
		return
	}
	x.taken = false
	shared := x.local
	for i := range x.n {
		c := &x.checks[i]
		switch c.Limit.Unit() {
		case ratelimit.UnitConcurrentRequests:
			x.rules.deps.Local.Release(c) // they are never shared
		case ratelimit.UnitContentBytes:
			all := uint64(max(received+sent, 0)) //nolint:gosec // not below 0
			if all <= c.Cost {
				continue
			}
			c.Cost = all - c.Cost
			if i < x.local {
				x.rules.deps.Local.Charge(now, c)
				continue
			}
			x.checks[shared], x.checks[i] = x.checks[i], x.checks[shared]
			shared++
		}
	}
	if shared > x.local {
		ctx, cancel := context.WithTimeout(context.Background(), chargePatience)
		defer cancel()
		_ = x.rules.deps.Shared.Charge(ctx, x.checks[x.local:shared]) // what is gone does not count
	}
}

// chargePatience bounds how long a store is waited for when a request has ended.
const chargePatience = time.Second

func (x *Exchange) leave() {
	if x.inFlight {
		x.inFlight = false
		x.rules.deps.Flight.leave(x.Shard)
	}
}

func (x *Exchange) reset(r *Rules, q *Request, now uint64) {
	keys, host, clean := x.keys[:0], x.host[:0], x.clean[:0]
	if cap(keys) > maxKept {
		keys = nil
	}
	n := x.n
	for i := range n {
		x.checks[i], x.of[i] = ratelimit.Check{}, nil
	}
	x.Route, x.Consumer, x.Claims, x.Err, x.Allow, x.Identity, x.unchecked = nil, nil, nil, nil, nil, "", ""
	x.rules, x.request, x.set, x.path, x.now = r, q, nil, "", now
	x.taken, x.inFlight, x.decided, x.n, x.local = false, false, 0, 0, 0
	x.keys, x.host, x.clean = keys, host, clean
}

// maxKept bounds what is kept of keys from one request to the next, bytes.
const maxKept = 16 << 10

// Held is how many policies were asked.
func (x *Exchange) Held() int { return x.decided }

// At is the i-th policy that was asked, and what it said.
func (x *Exchange) At(i int) (name string, shadow bool, d ratelimit.Decision) {
	return x.of[i].Quota.Name, x.checks[i].Shadow, x.decisions[i]
}

// Path is the path as it was matched.
func (x *Exchange) Path() string { return x.path }

// Trusted reports whether the conn is a trusted proxy's.
func (x *Exchange) Trusted() bool { return x.rules.TrustsProxy(x.request.Peer) }

// Class is the class of quotas that the client's token names, or its plan; empty for the default.
func (x *Exchange) Class() string {
	switch {
	case x.Claims != nil && x.Claims.Class != "":
		return x.Claims.Class
	case x.Consumer != nil:
		return x.Consumer.Plan
	}
	return ""
}

// HidesCredentials reports whether the upstream is not to see what the client is known by: the field of its key, and
// Authorization if that had the token.
func (x *Exchange) HidesCredentials() (keyField string, bearer, hides bool) {
	if !x.Route.HideCredentials || x.Route.Auth == AuthNone {
		return "", false, false
	}
	return x.rules.cfg.KeyField, x.Claims != nil, true
}

// StripPath is a path without the route's, for [Route.StripPath]. An escaped one is left as it is.
func StripPath[T ~string | ~[]byte](r *Route, path T) T {
	prefix := strings.TrimSuffix(strings.TrimPrefix(r.Path, "="), "/")
	if len(path) < len(prefix) || string(path[:len(prefix)]) != prefix {
		return path
	}
	if path = path[len(prefix):]; len(path) == 0 || path[0] != '/' {
		return T("/" + string(path))
	}
	return path
}

// FieldSafe is a text as a field's value: what cannot be in one is escaped.
func FieldSafe(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > 0x7e {
			return url.PathEscape(s)
		}
	}
	return s
}
