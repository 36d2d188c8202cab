package upstream

import (
	"fmt"
	"time"
)

// MaxServers bounds the servers of a pool, all addresses of all names together.
const MaxServers = 256

// Balance is how a server is chosen.
type Balance uint8

// The ways to choose.
const (
	// LeastRequest takes the server with the fewest requests in flight for its weight: of all where there are at most
	// eight, else of two drawn at random by weight (power of two choices). Where they are alike, weights decide.
	LeastRequest Balance = iota
	// RoundRobin takes one after another, the heavier ones more often, spread evenly (smooth weighted).
	RoundRobin
	// Hash takes the server that the key belongs to, by weighted rendezvous, or if that one has too much to do the next
	// one of that key: see Config.HashBalanceFactor. Gateways with the same servers agree.
	Hash
	balances
)

func (b Balance) String() string { return [...]string{"least-request", "round-robin", "hash"}[b] }

// ParseBalance reads what [Balance.String] gives; the empty text is LeastRequest. The error wraps [ErrBadBalance].
func ParseBalance(text string) (Balance, error) {
	for b := range balances {
		if text == b.String() || text == "" {
			return b, nil
		}
	}
	return 0, fmt.Errorf("%w %q: want least-request, round-robin or hash", ErrBadBalance, text)
}

// Config configures a [Pool]. Only Servers has no default. Where a field's zero value is its default, a negative value
// turns off what it bounds, if the comment says so.
type Config struct {
	// Name is what errors call the pool. May be empty.
	Name string
	// Servers are those behind the gateway, 1 to MaxServers, each address once.
	Servers []ServerConfig
	// Balance is how one is chosen. Default LeastRequest.
	Balance Balance
	// HashBalanceFactor bounds what a server may have in flight by Hash, in percent of its share of all that is in
	// flight (consistent hashing with bounded loads). 100 to 10000, default 150; near 100 keys move often.
	HashBalanceFactor int
	// MaxConns bounds the requests in flight at one server; over it the next one gets the request. 1 to 1<<20;
	// 0: no bound.
	MaxConns int
	// Health is how servers are checked; the zero value: not at all.
	Health Health
	// Ejection is how servers are judged by what requests meet.
	Ejection Ejection
	// Retries is how many requests may be tried again.
	Retries Retries
	// SlowStart is how long a server's weight rises, from a tenth, when it is new in a pool that had servers, or comes
	// back. Up to 1 h; 0: it has its weight at once.
	SlowStart time.Duration
	// PanicPercent is the share of servers down or ejected above which all are used whatever the checks say.
	// Percent, 1 to 100, default 50; at 100 never.
	PanicPercent int
	// Resolve is how often names are resolved again. 1 s to 1 h, default 30 s.
	Resolve time.Duration
}

// ServerConfig is a server, or the servers that a name stands for.
type ServerConfig struct {
	// Address is host:port. Where host is a name, each of its addresses is a server of its own.
	Address string
	// Weight is its share of the requests beside those of the others. 1 to 256, default 1.
	Weight int
}

// Health is how servers are actively checked.
type Health struct {
	// Path is asked for by GET over HTTP/1.1, its query included. Empty: that TCP connects is enough.
	Path string
	// Host is the Host header. Default: the server's Address as configured.
	Host string
	// Interval is how long after one check of a server the next one follows, give or take a tenth. 10 ms to 1 h; 0: no
	// checks.
	Interval time.Duration
	// Timeout bounds a check, from the connect to the end of the answer's head. 1 ms to Interval, default 1 s or
	// Interval if that is less.
	Timeout time.Duration
	// Rise checks in a row bring back a server that is down, Fall failed ones in a row take it down; the first check of
	// a server decides alone. 1 to 100, default 2 and 3.
	Rise, Fall int
	// ExpectMin and ExpectMax are the status codes of a healthy server. 100 to 599, default 200 to 399.
	ExpectMin, ExpectMax int
}

// Ejection is how servers are ejected for a time by what requests meet (Envoy's outlier detection).
type Ejection struct {
	// ConsecutiveGateway failures in a row eject a server: no connect, no answer in time, an answer broken off, 502,
	// 503 or 504. 1 to 10000, default 5; negative: never.
	ConsecutiveGateway int
	// Consecutive5xx is the same of these and every other 5xx. 1 to 10000; 0: never, which is the default, since a
	// client that knows a path that answers 500 could have servers ejected by it.
	Consecutive5xx int
	// Interval is how often success rates are compared; and a server that has not been ejected for one has its number
	// of ejections lowered by one. 100 ms to 1 h, default 10 s.
	Interval time.Duration
	// Base is how long a first ejection lasts, and an n-th n times as long, but no longer than Max. 10 ms to 24 h,
	// default 30 s and 5 min, or Base if that is more.
	Base, Max time.Duration
	// MaxPercent bounds the servers that are ejected at once, those on trial included; but if there are two or more,
	// one may be. Percent, 1 to 100, default 10. The only server is never ejected.
	MaxPercent int
	// StdevFactor is how many standard deviations, in thousandths, below the mean of all a server's success rate may
	// be; below that, and 5 percentage points or more below the mean, it is ejected. 100 to 10000, default 1900;
	// negative: never.
	StdevFactor int
	// RequestVolume is how many requests a server must have had in an Interval for its rate to count, MinimumServers
	// how many such servers there must be. 1 to 1<<20, default 100; 3 to MaxServers, default 5.
	RequestVolume, MinimumServers int
}

// Retries is how many requests may be tried again. Within each Window all gateways' clients together get at most
// BudgetPercent of the requests made in it, and MinPerSecond for each of its seconds: servers that fail are not
// drowned by retries.
type Retries struct {
	// Attempts is how often one request is tried in all, 1 to 10, default 2.
	Attempts int
	// BudgetPercent is of requests, retries not counted. 1 to 1000, default 20; negative: none.
	BudgetPercent int
	// MinPerSecond is what there is beside. 1 to 1<<20, default 10; negative: none.
	MinPerSecond int
	// Window is what the budget is summed up over. 1 s to 1 min, default 10 s.
	Window time.Duration
}

// withDefaults is c with every zero field at its default.
func (c Config) withDefaults() Config {
	h, e, r := &c.Health, &c.Ejection, &c.Retries
	for _, d := range []struct {
		field *int
		value int
	}{
		{&c.HashBalanceFactor, 150},
		{&c.PanicPercent, 50},
		{&h.Rise, 2},
		{&h.Fall, 3},
		{&h.ExpectMin, 200},
		{&h.ExpectMax, 399},
		{&e.ConsecutiveGateway, 5},
		{&e.MaxPercent, 10},
		{&e.StdevFactor, 1900},
		{&e.RequestVolume, 100},
		{&e.MinimumServers, 5},
		{&r.Attempts, 2},
		{&r.BudgetPercent, 20},
		{&r.MinPerSecond, 10},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.Resolve, 30 * time.Second},
		{&h.Timeout, min(time.Second, h.Interval)},
		{&e.Interval, 10 * time.Second},
		{&e.Base, 30 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if e.Max == 0 {
		e.Max = max(5*time.Minute, e.Base)
	}
	if r.Window == 0 {
		r.Window = 10 * time.Second
	}
	servers := make([]ServerConfig, len(c.Servers)) // the caller keeps its own
	for i, s := range c.Servers {
		if s.Weight == 0 {
			s.Weight = 1
		}
		servers[i] = s
	}
	c.Servers = servers
	return c
}
