package loop

import (
	"net/netip"

	"weir/edge/admit"
	"weir/ratelimit"
)

// maxProxies bounds Config.ProxyProtocol: it is gone through for each conn.
const maxProxies = 256

// defaultAdmission sets the lengths of prefixes that are 0.
func (c *Config) defaultAdmission() {
	if c.PrefixIPv4 == 0 {
		c.PrefixIPv4 = 32
	}
	if c.PrefixIPv6 == 0 {
		c.PrefixIPv6 = 64
	}
}

// admission is c's part of the gate.
func (c *Config) admission() admit.Config {
	return admit.Config{
		PrefixIPv4: c.PrefixIPv4, PrefixIPv6: c.PrefixIPv6,
		MaxConnsPerPrefix: c.MaxConnsPerPrefix,
		Rate:              c.AcceptRate, RatePerPrefix: c.AcceptRatePerPrefix,
	}
}

// checkAdmission reports what of the limits of clients is out of range.
func (c *Config) checkAdmission() (errs []error) {
	for _, r := range []struct {
		field            string
		value, low, high int
		want             string
	}{
		{"MaxConnsPerPrefix", c.MaxConnsPerPrefix, 0, 100_000_000, "0 (no limit) to 100000000"},
		{"PrefixIPv4", c.PrefixIPv4, 1, 32, "1 to 32"},
		{"PrefixIPv6", c.PrefixIPv6, 1, 128, "1 to 128"},
	} {
		if r.value < r.low || r.value > r.high {
			errs = append(errs, &FieldError{r.field, r.value, r.want})
		}
	}
	for _, r := range []struct {
		field string
		rate  ratelimit.Rate
	}{{"AcceptRate", c.AcceptRate}, {"AcceptRatePerPrefix", c.AcceptRatePerPrefix}} {
		if admit.CheckRate(r.rate) != nil {
			errs = append(errs, &FieldError{r.field, r.rate, "1/365d to 10000000/s, or none"})
		}
	}
	if n := len(c.ProxyProtocol); n > maxProxies {
		errs = append(errs, &FieldError{"ProxyProtocol", n, "256 prefixes at most: give wider ones"})
	}
	for _, p := range c.ProxyProtocol {
		if !goodPrefix(p) {
			errs = append(errs, &FieldError{"ProxyProtocol", p, "prefixes such as 192.0.2.0/24 or 2001:db8::/32; IPv4 without ::ffff:"})
		}
	}
	return errs
}

// goodPrefix reports whether a prefix can hold a conn's address, which is IPv4 where it is mapped.
func goodPrefix(p netip.Prefix) bool { return p.IsValid() && !p.Addr().Is4In6() }
