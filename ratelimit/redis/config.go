package redis

import (
	"errors"
	"fmt"
	"time"

	"weir/ratelimit"
)

// Fallback is what a policy does while Redis is gone.
type Fallback uint8

// The fallbacks.
const (
	// FallbackShare lets through what this gateway's part of the quota allows: see Config.Gateways.
	FallbackShare Fallback = iota
	// FallbackOpen lets all through.
	FallbackOpen
	// FallbackClosed lets none through.
	FallbackClosed
	fallbacks
)

func (f Fallback) String() string { return [...]string{"local-share", "open", "closed"}[f] }

// ParseFallback reads what [Fallback.String] gives; the empty text is FallbackShare.
func ParseFallback(text string) (Fallback, error) {
	for f := range fallbacks {
		if text == f.String() || text == "" {
			return f, nil
		}
	}
	return 0, fmt.Errorf("%w %q: want open, closed or local-share", ErrBadFallback, text)
}

// Mode is how a policy's budget is shared.
type Mode uint8

// The modes.
const (
	// ModeStrict asks Redis about each request.
	ModeStrict Mode = iota
	// ModeLease has Redis charge units in advance, which are spent without asking. It is for windows of Config.Timeout
	// or more.
	ModeLease
	modes
)

func (m Mode) String() string { return [...]string{"strict", "lease"}[m] }

// ParseMode reads what [Mode.String] gives; the empty text is ModeStrict.
func ParseMode(text string) (Mode, error) {
	for m := range modes {
		if text == m.String() || text == "" {
			return m, nil
		}
	}
	return 0, fmt.Errorf("%w %q: want strict or lease", ErrBadMode, text)
}

// Errors of this package, to be tested for with [errors.Is].
var (
	ErrBadFallback = errors.New("unknown fallback")
	ErrBadMode     = errors.New("unknown mode")
	// ErrBadLease says that a policy cannot be leased as it says.
	ErrBadLease = errors.New("bad lease")
	// ErrNotShared says that a policy cannot be kept in Redis.
	ErrNotShared = errors.New("not to be shared")
	// ErrGone says that a decision was made without Redis.
	ErrGone = errors.New("redis is gone")
)

// Policy is one whose budget is shared.
type Policy struct {
	Quota    ratelimit.Quota
	WhenGone Fallback
	Mode     Mode
	// Slice is how many units a gateway has of a client at most, charged and not spent, with ModeLease alone: 1 to the
	// quota's count. Default: a quarter of the count, by Config.Gateways, at least 1. A request that costs more is
	// decided as with ModeStrict.
	Slice uint64
}

// Config configures a [Store].
type Config struct {
	// Addresses are of the server, or of Sentinels if Sentinel is set: host:port each. At least one.
	Addresses []string
	// Sentinel is the name of the primary that they watch; empty without them.
	Sentinel string
	// Username and Password are for the server, by ACL; both may be empty.
	Username, Password string
	// Prefix begins every key. Default "weir:".
	Prefix string
	// Timeout bounds what a request waits for Redis. 100 us to 1 s, default 20 ms.
	Timeout time.Duration
	// Failures in a row open the breaker, for Retry. 1 to 1000, default 5; 10 ms to 1 min, default 1 s.
	Failures int
	Retry    time.Duration
	// Gateways is how many share the budgets: what FallbackShare divides by. 1 to 1000, default 1.
	Gateways int
	// Leases is how many clients have one at a time, of all policies with ModeLease together, about 400 bytes each
	// when they are there. Another one is decided as with ModeStrict, and counted. 256 to 1,048,576, default 65,536.
	Leases int
	// LeaseAge is how long units that were charged may be spent, if the policy's window is not shorter: then they
	// are given back. 10 ms to 1 min, default 1 s.
	LeaseAge time.Duration
}

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = "weir:"
	}
	if c.Timeout == 0 {
		c.Timeout = 20 * time.Millisecond
	}
	if c.Failures == 0 {
		c.Failures = 5
	}
	if c.Retry == 0 {
		c.Retry = time.Second
	}
	if c.Gateways == 0 {
		c.Gateways = 1
	}
	if c.Leases == 0 {
		c.Leases = 65536
	}
	if c.LeaseAge == 0 {
		c.LeaseAge = time.Second
	}
	return c
}

// Validate reports every field that is out of range, joined; nil if all are fine.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("ratelimit.redis.%s is %v: want %s", field, value, want))
	}
	if len(c.Addresses) == 0 {
		bad("addresses", "empty", "host:port of the server, or of its Sentinels")
	}
	if c.Timeout < 100*time.Microsecond || c.Timeout > time.Second {
		bad("timeout", c.Timeout, "100us to 1s")
	}
	if c.Failures < 1 || c.Failures > 1000 {
		bad("failures", c.Failures, "1 to 1000")
	}
	if c.Retry < 10*time.Millisecond || c.Retry > time.Minute {
		bad("retry", c.Retry, "10ms to 1m")
	}
	if c.Gateways < 1 || c.Gateways > 1000 {
		bad("gateways", c.Gateways, "1 to 1000")
	}
	if c.Leases < shards || c.Leases > maxLeases {
		bad("leases", c.Leases, "256 to 1048576")
	}
	if c.LeaseAge < 10*time.Millisecond || c.LeaseAge > time.Minute {
		bad("lease_age", c.LeaseAge, "10ms to 1m")
	}
	return errors.Join(errs...)
}
