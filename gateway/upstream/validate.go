package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Validate reports every field that is out of range, joined, each a *[FieldError]; nil if all are fine.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, &FieldError{c.Name, field, value, want})
	}
	c.checkServers(bad)
	c.checkNumbers(bad)
	c.checkDurations(bad)
	h := c.Health
	if c.Balance >= balances {
		bad("Balance", uint8(c.Balance), "least-request, round-robin or hash")
	}
	if h.ExpectMin > h.ExpectMax {
		bad("Health.ExpectMax", h.ExpectMax, fmt.Sprintf("ExpectMin, %d, or more", h.ExpectMin))
	}
	if _, err := url.ParseRequestURI(h.Path); h.Path != "" && (err != nil || h.Path[0] != '/' || !visible(h.Path) || strings.Contains(h.Path, "#")) {
		bad("Health.Path", strconv.Quote(h.Path), "a path such as /healthz, escaped, of at most 1024 bytes")
	}
	if h.Host != "" && (!visible(h.Host) || strings.ContainsAny(h.Host, "/?#@\\")) {
		bad("Health.Host", strconv.Quote(h.Host), "a host such as api.example.com, of at most 1024 bytes")
	}
	return errors.Join(errs...)
}

// visible reports whether a text has no spaces, control or non-ASCII characters, and is not long.
func visible(text string) bool {
	return len(text) <= 1024 && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

func (c Config) checkServers(bad func(field string, value any, want string)) {
	if n := len(c.Servers); n < 1 || n > MaxServers {
		bad("Servers", fmt.Sprintf("%d of them", n), fmt.Sprintf("1 to %d", MaxServers))
	}
	seen := map[string]bool{}
	for i, s := range c.Servers {
		field := fmt.Sprintf("Servers[%d]", i)
		address, err := canonical(s.Address)
		if err != nil {
			bad(field+".Address", strconv.Quote(s.Address), "host:port, such as 192.0.2.1:8080, [2001:db8::1]:8080 or api.internal:80")
		} else if seen[address] {
			bad(field+".Address", strconv.Quote(s.Address), "each address once: give it a Weight instead")
		}
		seen[address] = true
		if s.Weight < 1 || s.Weight > 256 {
			bad(field+".Weight", s.Weight, "1 to 256")
		}
	}
}

// canonical is an address as it is compared.
func canonical(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || !visible(host) || strings.ContainsAny(host, "/?#@\\") {
		return "", &net.AddrError{Err: "not host:port", Addr: address}
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return net.JoinHostPort(strings.ToLower(host), port), nil
}

// literal is the address of a server that is given as one, not by a name.
func literal(address string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddrPort(address)
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), err == nil
}

func (c Config) checkNumbers(bad func(field string, value any, want string)) {
	h, e, r := c.Health, c.Ejection, c.Retries
	for _, n := range []struct {
		field     string
		value     int
		low, high int
		off       bool // a negative value is
	}{
		{"HashBalanceFactor", c.HashBalanceFactor, 100, 10000, false},
		{"MaxConns", c.MaxConns, 0, 1 << 20, false},
		{"PanicPercent", c.PanicPercent, 1, 100, false},
		{"Health.Rise", h.Rise, 1, 100, false},
		{"Health.Fall", h.Fall, 1, 100, false},
		{"Health.ExpectMin", h.ExpectMin, 100, 599, false},
		{"Health.ExpectMax", h.ExpectMax, 100, 599, false},
		{"Ejection.ConsecutiveGateway", e.ConsecutiveGateway, 1, 10000, true},
		{"Ejection.Consecutive5xx", e.Consecutive5xx, 0, 10000, false},
		{"Ejection.MaxPercent", e.MaxPercent, 1, 100, false},
		{"Ejection.StdevFactor", e.StdevFactor, 100, 10000, true},
		{"Ejection.RequestVolume", e.RequestVolume, 1, 1 << 20, false},
		{"Ejection.MinimumServers", e.MinimumServers, 3, MaxServers, false},
		{"Retries.Attempts", r.Attempts, 1, 10, false},
		{"Retries.BudgetPercent", r.BudgetPercent, 1, 1000, true},
		{"Retries.MinPerSecond", r.MinPerSecond, 1, 1 << 20, true},
	} {
		want := fmt.Sprintf("%d to %d", n.low, n.high)
		if n.off {
			want += ", or a negative number for none"
		}
		if (n.value < n.low && (!n.off || n.value >= 0)) || n.value > n.high {
			bad(n.field, n.value, want)
		}
	}
}

func (c Config) checkDurations(bad func(field string, value any, want string)) {
	h, e := c.Health, c.Ejection
	const day = 24 * time.Hour
	for _, d := range []struct {
		field     string
		value     time.Duration
		low, high time.Duration
	}{
		{"SlowStart", c.SlowStart, 0, time.Hour},
		{"Resolve", c.Resolve, time.Second, time.Hour},
		{"Ejection.Interval", e.Interval, 100 * time.Millisecond, time.Hour},
		{"Ejection.Base", e.Base, 10 * time.Millisecond, day},
		{"Ejection.Max", e.Max, e.Base, day},
		{"Retries.Window", c.Retries.Window, time.Second, time.Minute},
	} {
		if d.value < d.low || d.value > d.high {
			bad(d.field, d.value, fmt.Sprintf("%v to %v", d.low, d.high))
		}
	}
	if h.Interval == 0 {
		return
	}
	if h.Interval < 10*time.Millisecond || h.Interval > time.Hour {
		bad("Health.Interval", h.Interval, "10ms to 1h, or 0 for no checks")
	} else if h.Timeout < time.Millisecond || h.Timeout > h.Interval {
		bad("Health.Timeout", h.Timeout, fmt.Sprintf("1ms to Health.Interval, %v", h.Interval))
	}
}
