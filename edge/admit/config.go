package admit

import (
	"fmt"

	"weir/ratelimit"
)

// Config configures a [Gate]. The zero value lets everybody in.
type Config struct {
	// PrefixIPv4 and PrefixIPv6 are how many bits of an address tell clients apart. 1 to 32,
	// default 32, and 1 to 128, default 64.
	PrefixIPv4, PrefixIPv6 int
	// MaxConnsPerPrefix bounds the conns of one prefix at once; 0: no bound.
	MaxConnsPerPrefix int
	// Rate bounds the new conns of all clients together, RatePerPrefix those of one prefix. A
	// second's worth may come at once. The zero value: no bound.
	Rate, RatePerPrefix ratelimit.Rate
}

// plan is a rate in integers, the zero value for none.
func plan(name string, r ratelimit.Rate) (ratelimit.Plan, error) {
	if r == (ratelimit.Rate{}) {
		return ratelimit.Plan{}, nil
	}
	p, err := ratelimit.Compile(r, ratelimit.PerSecond(r))
	if err != nil {
		return ratelimit.Plan{}, fmt.Errorf("compile the %s: %w", name, err)
	}
	return p, nil
}

// CheckRate reports whether a Gate can hold a rate; the error wraps [ratelimit.ErrOutOfRange].
func CheckRate(r ratelimit.Rate) error {
	_, err := plan("rate", r)
	return err
}
