package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"time"

	"weir/edge/admit"
	"weir/edge/http1"
	"weir/gateway/policy"
	"weir/gateway/rls"
	"weir/gateway/upstream"
	"weir/gateway/way"
	"weir/ratelimit"
)

// Config configures a [Server]. Without a listener it is off.
type Config struct {
	// Listen is the TCP address to serve, host:port; "off" for none. Default ":8002".
	Listen string
	// Way is how requests that come to Listen over HTTP/1.1 are served: [WayLoops], which leaves to net/http what it does not do, or
	// [WayNet]. Default WayLoops, where there is Linux.
	Way string
	// Loops is the number of event loops. 1 to 256, default one per CPU.
	Loops int
	// RLSListen is that of Envoy's rate limit service, gRPC without TLS. Default none.
	RLSListen string
	// TLSListen is that of https://. Default none.
	TLSListen string
	// TLSCertificates are pairs of PEM files, "CERT.pem:KEY.pem", read again when they change.
	TLSCertificates []string
	// TLSMinVersion is the oldest version spoken, "1.2" or "1.3". Default "1.2".
	TLSMinVersion string
	// TLSHandshakes bounds those under way at once; past it conns are closed. 1 to 65536, default 1024.
	TLSHandshakes int
	// MaxConns bounds the conns held at once; past it new ones are closed. 1 to 10 million, default 8192.
	MaxConns int
	// MaxHeadBytes bounds a request's head. Bytes, 1 KiB to 1 MiB, default 32 KiB.
	MaxHeadBytes int
	// MaxFields bounds its fields. 8 to 1000, default 100.
	MaxFields int
	// HeadTimeout bounds the time from a conn's begin, or a request's first byte, to the end of its head. 100 ms to 5 min, default 10 s.
	HeadTimeout time.Duration
	// KeepAlive is how long a conn may idle between two requests. 1 s to 1 h, default 75 s.
	KeepAlive time.Duration
	// DrainTimeout bounds how long requests may go on at shutdown. 0 to 1 h, default 30 s.
	DrainTimeout time.Duration
	// MaxConnsPerPrefix, PrefixIPv4, PrefixIPv6, AcceptRate and AcceptRatePerPrefix are as the edge has them.
	MaxConnsPerPrefix               int
	PrefixIPv4, PrefixIPv6          int
	AcceptRate, AcceptRatePerPrefix ratelimit.Rate
	// ProxyProtocol are the prefixes of proxies whose conns begin with a PROXY header. Default none.
	ProxyProtocol []netip.Prefix
	// IdentityField tells upstreams who a request is from. Default X-Weir-Identity.
	IdentityField string
	// Clients is about how many clients' quotas are kept in this process. Default 1,048,576.
	Clients int
	// Strain sheds what is less urgent while the process waits longer than it for a CPU. 1 ms to 10 s, default 0: never.
	Strain time.Duration
}

// Plan is what a Server serves by, and a reload replaces.
type Plan struct {
	Upstreams []Upstream
	Rules     policy.Config
	// Tokens checks tokens; nil without keys for them.
	Tokens policy.Tokens
	// RLS is which of the policies Envoy's descriptors are charged to.
	RLS rls.Config
	// Shared makes the store of the policies that are shared, and says how it is closed; nil without such policies.
	Shared func() (policy.Shared, func(), error)
	// Bound is shown for each of those policies; nil for nothing. It is asked after Shared.
	Bound func(policy string) any
}

// Upstream is a pool of servers, and how they are spoken to.
type Upstream struct {
	Pool upstream.Config
	How  way.UpstreamConfig
}

// FieldError says which field of a Config is out of range, and what would be right.
type FieldError struct {
	Field string
	Value any
	Want  string
}

// Error is "Field is Value: want Want".
func (e *FieldError) Error() string {
	return fmt.Sprintf("gateway.%s is %v: want %s", e.Field, e.Value, e.Want)
}

// Values of [Config.Way].
const (
	WayLoops = "loops"
	WayNet   = "net"
)

// Off is the Listen of a Server that has none without TLS, or serves Envoy alone.
const Off = "off"

// Defaults is c with every zero field at its default.
func (c Config) Defaults() Config {
	texts := []struct {
		at    *string
		value string
	}{{&c.Listen, ":8002"}, {&c.TLSMinVersion, "1.2"}, {&c.IdentityField, "X-Weir-Identity"}}
	for _, d := range texts {
		if *d.at == "" {
			*d.at = d.value
		}
	}
	if c.Way == "" {
		c.Way = WayNet
		if runtime.GOOS == "linux" {
			c.Way = WayLoops
		}
	}
	if c.Loops == 0 {
		c.Loops = min(runtime.NumCPU(), 256)
	}
	numbers := []struct {
		at    *int
		value int
	}{
		{&c.TLSHandshakes, 1024},
		{&c.MaxConns, 8192},
		{&c.MaxHeadBytes, 32 << 10},
		{&c.MaxFields, 100},
		{&c.Clients, 1 << 20},
		{&c.PrefixIPv4, 32},
		{&c.PrefixIPv6, 64},
	}
	for _, d := range numbers {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
	times := []struct {
		at    *time.Duration
		value time.Duration
	}{{&c.HeadTimeout, 10 * time.Second}, {&c.KeepAlive, 75 * time.Second}, {&c.DrainTimeout, 30 * time.Second}}
	for _, d := range times {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
	return c
}

// Validate reports every field that is out of range, joined; nil if all are fine.
func (c Config) Validate() error {
	c = c.Defaults()
	var errs []error
	bad := func(field string, value any, want string) { errs = append(errs, &FieldError{field, value, want}) }
	number := func(field string, v, least, most int) {
		if v < least || v > most {
			bad(field, v, fmt.Sprintf("%d to %d", least, most))
		}
	}
	duration := func(field string, v, least, most time.Duration) {
		if v < least || v > most {
			bad(field, v, fmt.Sprintf("%v to %v", least, most))
		}
	}
	number("Loops", c.Loops, 1, 256)
	if c.Way != WayLoops && c.Way != WayNet {
		bad("Way", c.Way, "loops or net")
	}
	if http1.CheckExtra([]byte(c.IdentityField)) != nil {
		bad("IdentityField", c.IdentityField, "the name of a header that neither frames a message nor is of one hop")
	}
	number("TLSHandshakes", c.TLSHandshakes, 1, 65536)
	number("MaxConns", c.MaxConns, 1, 10_000_000)
	number("MaxHeadBytes", c.MaxHeadBytes, 1<<10, 1<<20)
	number("MaxFields", c.MaxFields, 8, 1000)
	number("MaxConnsPerPrefix", c.MaxConnsPerPrefix, 0, 10_000_000)
	number("PrefixIPv4", c.PrefixIPv4, 1, 32)
	number("PrefixIPv6", c.PrefixIPv6, 1, 128)
	number("Clients", c.Clients, 1024, 67_108_864)
	duration("HeadTimeout", c.HeadTimeout, 100*time.Millisecond, 5*time.Minute)
	duration("KeepAlive", c.KeepAlive, time.Second, time.Hour)
	duration("DrainTimeout", c.DrainTimeout, 0, time.Hour)
	if c.Strain != 0 {
		duration("Strain", c.Strain, time.Millisecond, 10*time.Second)
	}
	for _, l := range []struct{ field, value string }{{"Listen", c.Listen}, {"TLSListen", c.TLSListen}, {"RLSListen", c.RLSListen}} {
		if l.value != "" && l.value != Off && !isAddress(l.value) {
			bad(l.field, l.value, "host:port, such as :8002")
		}
	}
	if c.RLSListen == Off {
		bad("RLSListen", Off, "host:port, such as :8003, or nothing for none")
	}
	if c.Listen == Off && c.TLSListen == "" && c.RLSListen == "" {
		bad("Listen", Off, "an address here, or in TLSListen or RLSListen")
	}
	if c.TLSListen != "" && len(c.TLSCertificates) == 0 {
		bad("TLSCertificates", "[]", "a certificate and its key, CERT.pem:KEY.pem, for TLSListen")
	}
	if c.TLSMinVersion != "1.2" && c.TLSMinVersion != "1.3" {
		bad("TLSMinVersion", c.TLSMinVersion, "1.2 or 1.3")
	}
	for _, r := range []struct {
		field string
		rate  ratelimit.Rate
	}{{"AcceptRate", c.AcceptRate}, {"AcceptRatePerPrefix", c.AcceptRatePerPrefix}} {
		if r.rate != (ratelimit.Rate{}) && admit.CheckRate(r.rate) != nil {
			bad(r.field, r.rate, "a rate such as 5000/s")
		}
	}
	return errors.Join(errs...)
}

func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	n, bad := strconv.Atoi(port)
	return err == nil && bad == nil && n >= 0 && n < 65536
}
