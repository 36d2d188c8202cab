package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/gateway"
	"weir/gateway/trace"
	"weir/ratelimit"
	"weir/ratelimit/redis"
)

// Gateway is the section of the gateway.
type Gateway struct {
	gateway.Config
	// Routes is the file with what it serves by.
	Routes string
	// AccessLog is a file, or - for the standard output; empty for none.
	AccessLog string
	// Sample is the part of the ordinary requests that is logged.
	Sample float64
	// Escalate is how clients are cut in XDP.
	Escalate Escalate
	// Trace is where traces of requests go; none without an endpoint. Its header is that of TraceHeadersFile.
	Trace            trace.Config
	TraceHeadersFile string
	// Redis is the store of shared policies, if it has addresses.
	Redis             redis.Config
	RedisPasswordFile string
}

func (g Gateway) validate() error {
	errs := []error{g.Validate(), g.Escalate.Validate()}
	if len(g.Redis.Addresses) > 0 {
		errs = append(errs, g.Redis.Validate())
	}
	if g.Trace.Endpoint != "" {
		errs = append(errs, g.Trace.Validate())
	} else if g.TraceHeadersFile != "" {
		errs = append(errs, errors.New("gateway.trace_headers_file is set, and spans go nowhere: set gateway.trace_endpoint"))
	}
	if g.Sample < 0 || g.Sample > 1 {
		errs = append(errs, fmt.Errorf("gateway.access_log_sample is %v: want a part, 0 to 1", g.Sample))
	}
	return errors.Join(errs...)
}

// readRedisPassword reads the file of redis.password_file, if there is one.
func (l *loader) readRedisPassword() {
	g := &l.config.Gateway
	if text, ok := l.readNamed("redis.password_file", g.RedisPasswordFile); ok {
		g.Redis.Password = strings.TrimSpace(text)
	}
}

// readTraceHeaders reads the file of gateway.trace_headers_file, if there is one.
func (l *loader) readTraceHeaders() {
	const key = "gateway.trace_headers_file"
	g := &l.config.Gateway
	text, ok := l.readNamed(key, g.TraceHeadersFile)
	if !ok {
		return
	}
	var err error
	if g.Trace.Header, err = trace.ParseHeader(text); err != nil {
		l.fail(l.lines[key], key, "is %q: %s", g.TraceHeadersFile, err)
	}
}

// gatewaySettings are the keys of the gateway, and of the store that gateways share.
func gatewaySettings() []setting {
	return slices.Concat(serverSettings(), seenSettings(), redisSettings(), escalateSettings())
}

func serverSettings() []setting {
	return []setting{
		text("gateway.listen", "gateway.Listen", "address of the gateway, host:port; off for none without TLS", func(c *Config) *string { return &c.Gateway.Listen }),
		oneOf("gateway.way", "how HTTP/1.1 without TLS is served: loops (event loops, which leave the rest to net/http) or net", []string{gateway.WayLoops, gateway.WayNet}, func(c *Config) *string { return &c.Gateway.Way }).of("gateway.Way"),
		number("gateway.loops", "gateway.Loops", "event loops; 0: one per CPU", func(c *Config) *int { return &c.Gateway.Loops }),
		text("gateway.routes", "", "file with upstreams, policies, plans, consumers and routes; read again when it changes, or at SIGHUP", func(c *Config) *string { return &c.Gateway.Routes }),
		text("gateway.rls_listen", "gateway.RLSListen", "address of Envoy's rate limit service, gRPC without TLS, host:port; empty: none", func(c *Config) *string { return &c.Gateway.RLSListen }),
		text("gateway.tls_listen", "gateway.TLSListen", "address of https://, host:port; empty: none", func(c *Config) *string { return &c.Gateway.TLSListen }),
		texts("gateway.tls_certificates", "gateway.TLSCertificates", "files of each certificate and its key, CERT.pem:KEY.pem; read again when they change", func(c *Config) *[]string { return &c.Gateway.TLSCertificates }),
		text("gateway.tls_min_version", "gateway.TLSMinVersion", "oldest version of TLS spoken: 1.2 or 1.3", func(c *Config) *string { return &c.Gateway.TLSMinVersion }),
		number("gateway.tls_handshakes", "gateway.TLSHandshakes", "TLS handshakes under way at once; the next are closed", func(c *Config) *int { return &c.Gateway.TLSHandshakes }),
		number("gateway.max_conns", "gateway.MaxConns", "connections held at once; the next are closed", func(c *Config) *int { return &c.Gateway.MaxConns }),
		size("gateway.max_head", "gateway.MaxHeadBytes", "largest request head", func(c *Config) *int { return &c.Gateway.MaxHeadBytes }),
		number("gateway.max_headers", "gateway.MaxFields", "most headers of a request", func(c *Config) *int { return &c.Gateway.MaxFields }),
		duration("gateway.head_timeout", "gateway.HeadTimeout", "time for a request's head to come", func(c *Config) *time.Duration { return &c.Gateway.HeadTimeout }),
		duration("gateway.keep_alive", "gateway.KeepAlive", "time a connection may idle between two requests", func(c *Config) *time.Duration { return &c.Gateway.KeepAlive }),
		duration("gateway.drain_timeout", "gateway.DrainTimeout", "time for requests to end at shutdown", func(c *Config) *time.Duration { return &c.Gateway.DrainTimeout }),
		number("gateway.max_conns_per_prefix", "gateway.MaxConnsPerPrefix", "connections held at once of one client address, cut to the bits below; 0: no limit", func(c *Config) *int { return &c.Gateway.MaxConnsPerPrefix }),
		number("gateway.prefix_ipv4", "gateway.PrefixIPv4", "bits of an IPv4 address that tell clients apart", func(c *Config) *int { return &c.Gateway.PrefixIPv4 }),
		number("gateway.prefix_ipv6", "gateway.PrefixIPv6", "bits of an IPv6 address that do", func(c *Config) *int { return &c.Gateway.PrefixIPv6 }),
		acceptRate("gateway.accept_rate", "gateway.AcceptRate", "new connections of all clients together, such as 5000/s; empty: no limit", func(c *Config) *ratelimit.Rate { return &c.Gateway.AcceptRate }),
		acceptRate("gateway.accept_rate_per_prefix", "gateway.AcceptRatePerPrefix", "new connections of one client, such as 20/s; empty: no limit", func(c *Config) *ratelimit.Rate { return &c.Gateway.AcceptRatePerPrefix }),
		prefixes("gateway.proxy_protocol", "prefixes of the proxies whose connections begin with a PROXY header", func(c *Config) *[]netip.Prefix { return &c.Gateway.ProxyProtocol }).of("gateway.ProxyProtocol"),
		text("gateway.identity_header", "gateway.IdentityField", "header that tells upstreams who a request is from", func(c *Config) *string { return &c.Gateway.IdentityField }),
		number("gateway.clients", "gateway.Clients", "clients whose quotas are kept in this process, 64 bytes each", func(c *Config) *int { return &c.Gateway.Clients }),
		duration("gateway.strain", "gateway.Strain", "wait for a CPU past which the least urgent requests are refused; 0s: never", func(c *Config) *time.Duration { return &c.Gateway.Strain }),
	}
}

// seenSettings are those of what is to be seen of requests.
func seenSettings() []setting {
	return []setting{
		text("gateway.access_log", "", "file of a line of JSON per request; - for the standard output; empty: none", func(c *Config) *string { return &c.Gateway.AccessLog }),
		part("gateway.access_log_sample", "part of the ordinary requests that have a line, 0 to 1; refused and failed ones all have", func(c *Config) *float64 { return &c.Gateway.Sample }),
		text("gateway.trace_endpoint", "trace.Endpoint", "URL of a collector of OpenTelemetry (OTLP over HTTP), such as http://127.0.0.1:4318; empty: none", func(c *Config) *string { return &c.Gateway.Trace.Endpoint }),
		text("gateway.trace_headers_file", "", "file of headers for it, a line of NAME: VALUE each, such as its key", func(c *Config) *string { return &c.Gateway.TraceHeadersFile }),
		part("gateway.trace_sample", "part of the requests without a trace of their own that have a span, 0 to 1", func(c *Config) *float64 { return &c.Gateway.Trace.Sample }),
		traceFrom("gateway.trace_from", "whose traces go on: proxies (the trusted ones), all, or none", func(c *Config) *trace.From { return &c.Gateway.Trace.From }),
		text("gateway.trace_service", "", "name of the service in spans; empty: weir-gateway", func(c *Config) *string { return &c.Gateway.Trace.Service }),
	}
}

func redisSettings() []setting {
	return []setting{
		texts("redis.addresses", "ratelimit.redis.addresses", "Redis, or its Sentinels, host:port each: the store of policies with store: shared", func(c *Config) *[]string { return &c.Gateway.Redis.Addresses }),
		text("redis.sentinel", "ratelimit.redis.sentinel", "name of the primary that the Sentinels watch; empty without them", func(c *Config) *string { return &c.Gateway.Redis.Sentinel }),
		text("redis.username", "", "user, by ACL; empty for the default one", func(c *Config) *string { return &c.Gateway.Redis.Username }),
		text("redis.password_file", "", "file with the password; empty for none", func(c *Config) *string { return &c.Gateway.RedisPasswordFile }),
		text("redis.prefix", "ratelimit.redis.prefix", "what every key begins with; empty: weir:", func(c *Config) *string { return &c.Gateway.Redis.Prefix }),
		duration("redis.timeout", "ratelimit.redis.timeout", "most that a request waits for Redis; 0s: 20ms", func(c *Config) *time.Duration { return &c.Gateway.Redis.Timeout }),
		number("redis.failures", "ratelimit.redis.failures", "failures in a row after which it is not asked; 0: 5", func(c *Config) *int { return &c.Gateway.Redis.Failures }),
		duration("redis.retry", "ratelimit.redis.retry", "for how long; 0s: 1s", func(c *Config) *time.Duration { return &c.Gateway.Redis.Retry }),
		number("redis.gateways", "ratelimit.redis.gateways", "gateways that share the budgets: what when_gone: local-share divides by; 0: 1", func(c *Config) *int { return &c.Gateway.Redis.Gateways }),
		number("redis.leases", "ratelimit.redis.leases", "clients that have a lease at a time, of policies with mode: lease; 0: 65536", func(c *Config) *int { return &c.Gateway.Redis.Leases }),
		duration("redis.lease_age", "ratelimit.redis.lease_age", "time after which what is not spent of one is given back; 0s: 1s", func(c *Config) *time.Duration { return &c.Gateway.Redis.LeaseAge }),
	}
}

func traceFrom(key, doc string, at func(*Config) *trace.From) setting {
	return setting{
		key: key, doc: doc,
		get: func(c *Config) string { return at(c).String() },
		set: func(c *Config, values []string) error {
			v, err := scalar(values, "proxies, all or none")
			if err == nil {
				*at(c), err = trace.ParseFrom(v)
			}
			return err
		},
	}
}

// part is a number from 0 to 1.
func part(key, doc string, at func(*Config) *float64) setting {
	return setting{
		key: key, doc: doc,
		get: func(c *Config) string { return strconv.FormatFloat(*at(c), 'g', -1, 64) },
		set: func(c *Config, values []string) error {
			v, err := scalar(values, "a part, 0 to 1")
			if err != nil {
				return err
			}
			n, err := strconv.ParseFloat(v, 64)
			if err != nil || !(n >= 0 && n <= 1) {
				return fmt.Errorf("is %q: want a part, 0 to 1", v)
			}
			*at(c) = n
			return nil
		},
	}
}
