package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/broker"
	"weir/edge"
	"weir/ratelimit"
)

// setting is one key: where it lives, what it means, how it is read and written.
type setting struct {
	key string // section.name
	// field is the package's name for it in its own errors, such as edge.MaxConns.
	field string
	doc   string
	list  bool
	set   func(c *Config, values []string) error
	get   func(c *Config) string
}

// of is s with the name that its package has for it.
func (s setting) of(field string) setting {
	s.field = field
	return s
}

// settings are all keys, in the order they are printed.
func settings() []setting {
	return slices.Concat(edgeSettings(), authSettings(), adminSettings(), busSettings(), xdpSettings(), gatewaySettings(), traceSettings(), logSettings())
}

func edgeSettings() []setting {
	return []setting{
		text("edge.listen", "edge.Listen", "address of the edge, host:port", func(c *Config) *string { return &c.Edge.Listen }),
		number("edge.loops", "edge.Loops", "event loops; 0: one per CPU", func(c *Config) *int { return &c.Edge.Loops }),
		number("edge.workers", "edge.Workers", "processes that serve the port, where one's descriptors do not do; 0: weir serves it itself", func(c *Config) *int { return &c.Workers.Workers }),
		number("edge.max_conns", "edge.MaxConns", "connections held at once; 0: by the descriptor limit", func(c *Config) *int { return &c.Edge.MaxConns }),
		size("edge.max_pending", "edge.MaxPendingBytes", "bytes of answers one connection may leave unread before it is closed as a slow consumer", func(c *Config) *int { return &c.Edge.MaxPendingBytes }),
		size("edge.max_held", "edge.MaxHeldBytes", "bytes that all clients which do not read may have the node hold, kernel included", func(c *Config) *int { return &c.Edge.MaxHeldBytes }),
		size("edge.max_message", "edge.MaxMessageBytes", "largest message from a client", func(c *Config) *int { return &c.Edge.MaxMessageBytes }),
		size("edge.max_head", "edge.MaxHeadBytes", "largest request head", func(c *Config) *int { return &c.Edge.MaxHeadBytes }),
		number("edge.max_topics", "edge.MaxTopics", "topics of one connection", func(c *Config) *int { return &c.Edge.MaxTopics }),
		duration("edge.handshake_timeout", "edge.HandshakeTimeout", "time from accept to answer", func(c *Config) *time.Duration { return &c.Edge.HandshakeTimeout }),
		duration("edge.ping_interval", "edge.PingInterval", "time between pings", func(c *Config) *time.Duration { return &c.Edge.PingInterval }),
		duration("edge.pong_timeout", "edge.PongTimeout", "time to answer one", func(c *Config) *time.Duration { return &c.Edge.PongTimeout }),
		duration("edge.drain_timeout", "edge.DrainTimeout", "most time over which connections are closed at shutdown, by the accept rate seen", func(c *Config) *time.Duration { return &c.Edge.DrainTimeout }),
		text("edge.takeover", "edge.Takeover", "socket at which a process with --takeover finds this one; off: none; empty: /run/weir/edge-PORT.sock, or weir-UID/edge-PORT.sock where temporary files are", func(c *Config) *string { return &c.Edge.Takeover }),
		text("edge.drain_to", "edge.DrainTo", "URL that clients are sent to then; empty: again where they were", func(c *Config) *string { return &c.Edge.DrainTo }),
		oneOf("edge.compression", "permessage-deflate for WebSocket clients that offer it: auto, or off", []string{"auto", "off"}, func(c *Config) *string { return &c.Edge.Compression }),
		boolean("edge.echo", "edge.Echo", "open /echo, for conformance suites", func(c *Config) *bool { return &c.Edge.Echo }),
		parsed("edge.modes", "what slow subscribers of topics are sent, the first that matches: PATTERN=log is all, PATTERN=latest the newest of each key", edge.ParseModeRule, func(c *Config) *[]edge.ModeRule { return &c.Edge.Modes }),
		texts("edge.allowed_origins", "edge.AllowedOrigins", "values of the Origin header let in; * for all", func(c *Config) *[]string { return &c.Edge.AllowedOrigins }),
		oneOf("edge.anonymous", "clients without a token: auto (let in if there are no auth.keys and no auth.jwks), on or off", []string{"auto", "on", "off"}, func(c *Config) *string { return &c.Edge.Anonymous }).of("edge.Anonymous"),
		patterns("edge.anonymous_topics", "edge.AnonymousTopics", "topics, or patterns, that a client may subscribe to without a token, or with one that does not say to which", func(c *Config) *[]broker.Pattern { return &c.Edge.AnonymousTopics }),
		number("edge.max_conns_per_identity", "edge.MaxConnsPerIdentity", "connections held at once whose tokens have one subject; 0: no limit", func(c *Config) *int { return &c.Edge.MaxConnsPerIdentity }),
		number("edge.max_conns_per_prefix", "edge.MaxConnsPerPrefix", "connections held at once of one client address, cut to the bits below; 0: no limit", func(c *Config) *int { return &c.Edge.MaxConnsPerPrefix }),
		number("edge.prefix_ipv4", "edge.PrefixIPv4", "bits of an IPv4 address that tell clients apart", func(c *Config) *int { return &c.Edge.PrefixIPv4 }),
		number("edge.prefix_ipv6", "edge.PrefixIPv6", "bits of an IPv6 address that do", func(c *Config) *int { return &c.Edge.PrefixIPv6 }),
		acceptRate("edge.accept_rate", "edge.AcceptRate", "new connections of all clients together, such as 5000/s, a second's worth at once; empty: no limit", func(c *Config) *ratelimit.Rate { return &c.Edge.AcceptRate }),
		acceptRate("edge.accept_rate_per_prefix", "edge.AcceptRatePerPrefix", "new connections of one client, such as 20/s or 100/min; empty: no limit", func(c *Config) *ratelimit.Rate { return &c.Edge.AcceptRatePerPrefix }),
		prefixes("edge.proxy_protocol", "prefixes of the proxies whose connections begin with a PROXY header, which names the client", func(c *Config) *[]netip.Prefix { return &c.Edge.ProxyProtocol }).of("edge.ProxyProtocol"),
		text("edge.tls_listen", "edge.TLSListen", "address of wss:// and https://, host:port; empty: none", func(c *Config) *string { return &c.Edge.TLSListen }),
		texts("edge.tls_certificates", "edge.TLSCertificates", "files of each certificate and its key, CERT.pem:KEY.pem, by server name the first that fits; read again when they change", func(c *Config) *[]string { return &c.Edge.TLSCertificates }),
		text("edge.tls_min_version", "edge.TLSMinVersion", "oldest version of TLS spoken: 1.2 or 1.3", func(c *Config) *string { return &c.Edge.TLSMinVersion }),
		number("edge.tls_handshakes", "edge.TLSHandshakes", "TLS handshakes under way at once, and as many waiting; the next are closed", func(c *Config) *int { return &c.Edge.TLSHandshakes }),
		oneOf("edge.ktls", "records of TLS 1.3 by the kernel where it can: auto, or off", []string{"auto", "off"}, func(c *Config) *string { return &c.Edge.KTLS }).of("edge.KTLS"),
	}
}

func authSettings() []setting {
	return []setting{
		texts("auth.keys", "auth.Keys", "keys that clients' tokens are checked with, ALG:KID:FILE: a public key or certificate in PEM, for HS256, HS384, HS512 the secret; KID may be empty, for tokens of any", func(c *Config) *[]string { return &c.Auth.Keys }),
		text("auth.jwks", "auth.JWKS", "JWK set with others, an https:// URL or a file; fetched again and again", func(c *Config) *string { return &c.Auth.JWKS }),
		duration("auth.jwks_refresh", "auth.JWKSRefresh", "time between fetches of a URL, shorter if the answer says max-age", func(c *Config) *time.Duration { return &c.Auth.JWKSRefresh }),
		duration("auth.jwks_max_stale", "auth.JWKSMaxStale", "time that a set holds which cannot be fetched anew", func(c *Config) *time.Duration { return &c.Auth.JWKSMaxStale }),
		texts("auth.jwks_algorithms", "auth.JWKSAlgorithms", "algorithms that its keys may be for; a key that does not say is for the first that fits it", func(c *Config) *[]string { return &c.Auth.JWKSAlgorithms }),
		text("auth.issuer", "auth.Issuer", "iss that tokens have to have; empty: any", func(c *Config) *string { return &c.Auth.Issuer }),
		text("auth.audience", "auth.Audience", "aud that they have to name; empty: any", func(c *Config) *string { return &c.Auth.Audience }),
		duration("auth.leeway", "auth.Leeway", "by how much clocks may differ", func(c *Config) *time.Duration { return &c.Auth.Leeway }),
	}
}

func adminSettings() []setting {
	return []setting{
		text("admin.listen", "admin.Listen", "address of the admin page and API", func(c *Config) *string { return &c.Admin.Listen }),
		text("admin.api_key", "admin.APIKey", "key that the API asks for; needed unless listen is a loopback address", func(c *Config) *string { return &c.Admin.APIKey }),
	}
}

func busSettings() []setting {
	return []setting{
		text("bus.data", "bus.Dir", "directory of stored events; empty: in memory", func(c *Config) *string { return &c.Bus.Dir }),
		text("bus.storage", "bus.Storage", "memory or file; default by data", func(c *Config) *string { return (*string)(&c.Bus.Storage) }),
		text("bus.sync", "bus.Sync", "interval (power loss may lose acknowledged events since the last sync) or always", func(c *Config) *string { return (*string)(&c.Bus.Sync) }),
		duration("bus.sync_interval", "bus.SyncInterval", "time between syncs", func(c *Config) *time.Duration { return &c.Bus.SyncInterval }),
		size("bus.max_bytes", "bus.MaxBytes", "stored over all shards", func(c *Config) *int64 { return &c.Bus.MaxBytes }),
		size("bus.max_event", "bus.MaxEventBytes", "largest payload", func(c *Config) *int { return &c.Bus.MaxEventBytes }),
		number("bus.history_events", "bus.HistoryEvents", "events kept of a topic", func(c *Config) *int64 { return &c.Bus.HistoryEvents }),
		duration("bus.history_age", "bus.HistoryAge", "time an event is kept", func(c *Config) *time.Duration { return &c.Bus.HistoryAge }),
		text("bus.listen", "bus.Listen", "address for edges and NATS clients; empty: none, for weir broker 127.0.0.1:4222", func(c *Config) *string { return &c.Bus.Listen }),
		texts("bus.servers", "bus.Servers", "for weir edge: its broker, such as nats://10.0.0.5:4222", func(c *Config) *[]string { return &c.Bus.Servers }),
		secret("bus.secret", "bus.Secret", "what broker and edges share, so that those are let in with all rights; never printed", func(c *Config) *string { return &c.Bus.Secret }),
		text("bus.secret_file", "", "file with it, instead", func(c *Config) *string { return &c.BusSecretFile }),
	}
}

func xdpSettings() []setting {
	return []setting{
		oneOf("xdp.enabled", "quotas in XDP: auto (where the kernel and our rights allow it), on or off", []string{"auto", "on", "off"}, func(c *Config) *string { return &c.XDP.Enabled }),
		text("xdp.interface", "xdp.interface", "network interface they guard", func(c *Config) *string { return &c.XDP.Interface }),
		oneOf("xdp.attach", "native, generic, or auto: native where the driver has it", []string{"auto", "native", "generic"}, func(c *Config) *string { return &c.XDP.Attach }),
		oneOf("xdp.mode", "off, shadow (count what would be dropped), enforce, or under-attack (every new source answers a cookie)", []string{"off", "shadow", "enforce", "under-attack"}, func(c *Config) *string { return &c.XDP.Mode }),
		number("xdp.slots", "xdp.slots", "clients the table holds, a power of two; 96 bytes each", func(c *Config) *int { return &c.XDP.Slots }),
		number("xdp.ipv4_prefix", "xdp.ipv4_prefix", "bits of an IPv4 address that have a slot: no client is narrower", func(c *Config) *int { return &c.XDP.IPv4Prefix }),
		number("xdp.ipv6_prefix", "xdp.ipv6_prefix", "bits of an IPv6 address that have a slot", func(c *Config) *int { return &c.XDP.IPv6Prefix }),
		oneOf("xdp.clock", "precise, or coarse: cheaper, and exact to a kernel tick (1 to 10 ms)", []string{"precise", "coarse"}, func(c *Config) *string { return &c.XDP.Clock }),
		oneOf("xdp.cookies", "SYNs over their budget are answered in XDP: auto (where the kernel can), on or off", []string{"auto", "on", "off"}, func(c *Config) *string { return &c.XDP.Cookies }),
		oneOf("xdp.frags", "packets of several buffers: auto (where the MTU is above 1500 as weir starts), on or off", []string{"auto", "on", "off"}, func(c *Config) *string { return &c.XDP.Frags }),
		oneOf("xdp.proof", "exact slots only for who completed a handshake: auto (where the kernel can), on or off", []string{"auto", "on", "off"}, func(c *Config) *string { return &c.XDP.Proof }),
		boolean("xdp.pin", "xdp.pin", "keep enforcing when weir dies; the next start takes over", func(c *Config) *bool { return &c.XDP.Pin }),
		text("xdp.policy", "xdp.policy", "file with classes, prefixes and lists, instead of the quotas below", func(c *Config) *string { return &c.XDP.Policy }),
		prefixes("xdp.allow", "prefixes that no quota holds for", func(c *Config) *[]netip.Prefix { return &c.XDP.Allow }),
		prefixes("xdp.deny", "prefixes of which nothing passes", func(c *Config) *[]netip.Prefix { return &c.XDP.Deny }),
		text("xdp.packets", "xdp.packets", "packets of one client, such as 5000/s, 100/min, 1/10s; empty: no quota", func(c *Config) *string { return &c.XDP.Packets }),
		number("xdp.burst", "xdp.burst", "packets it may send at once", func(c *Config) *int { return &c.XDP.Burst }),
		text("xdp.bytes", "xdp.bytes", "bytes of one client, such as 10MB/s or 100Mbit/s; empty: no quota", func(c *Config) *string { return &c.XDP.Bytes }),
		text("xdp.connections", "xdp.connections", "new connections of one client, such as 100/s; empty: no quota", func(c *Config) *string { return &c.XDP.Connections }),
		number("xdp.concurrent", "xdp.concurrent", "connections of one client at once; 0: no quota", func(c *Config) *int { return &c.XDP.Concurrent }),
		text("xdp.total", "xdp.total", "packets of all sources together that have not completed a handshake, or that the table has no room for", func(c *Config) *string { return &c.XDP.Total }),
		text("xdp.syns", "xdp.syns", "SYNs of such sources; above it they are answered with cookies", func(c *Config) *string { return &c.XDP.SYNs }),
	}
}

func logSettings() []setting {
	return []setting{
		oneOf("log.level", "debug, info, warn or error", []string{"debug", "info", "warn", "error"}, func(c *Config) *string { return &c.Log.Level }),
		oneOf("log.format", "text or json", []string{"text", "json"}, func(c *Config) *string { return &c.Log.Format }),
	}
}

func scalar(values []string, want string) (string, error) {
	if len(values) != 1 {
		return "", fmt.Errorf("is a list: want %s", want)
	}
	return values[0], nil
}

func text(key, field, doc string, at func(*Config) *string) setting {
	return setting{
		key: key, field: field, doc: doc,
		get: func(c *Config) string { return strconv.Quote(*at(c)) },
		set: func(c *Config, values []string) error {
			v, err := scalar(values, "a text")
			if err == nil {
				*at(c) = v
			}
			return err
		},
	}
}

// secret is a text that is read and not printed.
func secret(key, field, doc string, at func(*Config) *string) setting {
	s := text(key, field, doc, at)
	s.get = func(*Config) string { return `""` }
	return s
}

func texts(key, field, doc string, at func(*Config) *[]string) setting {
	return setting{
		key: key, field: field, doc: doc, list: true,
		get: func(c *Config) string { return quoteList(*at(c)) },
		set: func(c *Config, values []string) error {
			*at(c) = values
			return nil
		},
	}
}

func quoteList(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = strconv.Quote(v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func patterns(key, field, doc string, at func(*Config) *[]broker.Pattern) setting {
	return setting{
		key: key, field: field, doc: doc, list: true,
		get: func(c *Config) string {
			values := make([]string, len(*at(c)))
			for i, p := range *at(c) {
				values[i] = string(p)
			}
			return quoteList(values)
		},
		set: func(c *Config, values []string) error {
			list := make([]broker.Pattern, len(values))
			for i, text := range values {
				p, err := broker.ParsePattern(text)
				if err != nil {
					return fmt.Errorf("is %q: %w", text, err)
				}
				list[i] = p
			}
			*at(c) = list
			return nil
		},
	}
}

func prefixes(key, doc string, at func(*Config) *[]netip.Prefix) setting {
	return parsed(key, doc, ParsePrefix, at)
}

// parsed is a list of what has a text.
func parsed[T fmt.Stringer](key, doc string, parse func(string) (T, error), at func(*Config) *[]T) setting {
	return setting{
		key: key, doc: doc, list: true,
		get: func(c *Config) string {
			var values []string
			for _, v := range *at(c) {
				values = append(values, v.String())
			}
			return quoteList(values)
		},
		set: func(c *Config, values []string) error {
			list := make([]T, 0, len(values))
			for _, text := range values {
				v, err := parse(text)
				if err != nil {
					return err
				}
				list = append(list, v)
			}
			*at(c) = list
			return nil
		},
	}
}

// ParsePrefix reads a prefix, or an address as the prefix of its own.
func ParsePrefix(v string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(v); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(v)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("is %q: want a prefix such as 192.0.2.0/24 or 2001:db8::/32", v)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// acceptRate is a count per time; empty for none.
func acceptRate(key, field, doc string, at func(*Config) *ratelimit.Rate) setting {
	return setting{
		key: key, field: field, doc: doc,
		get: func(c *Config) string {
			if *at(c) == (ratelimit.Rate{}) {
				return `""`
			}
			return strconv.Quote(at(c).String())
		},
		set: func(c *Config, values []string) error {
			v, err := scalar(values, "a rate")
			if err != nil {
				return err
			}
			if v == "" {
				*at(c) = ratelimit.Rate{}
				return nil
			}
			r, err := ratelimit.ParseRate(v)
			if err != nil {
				return fmt.Errorf("is %q: want a count per s, min, h or d, such as 5000/s, 100/min or 1/10s, or nothing", v)
			}
			*at(c) = r
			return nil
		},
	}
}

func oneOf(key, doc string, allowed []string, at func(*Config) *string) setting {
	return setting{
		key: key, doc: doc,
		get: func(c *Config) string { return *at(c) },
		set: func(c *Config, values []string) error {
			v, err := scalar(values, strings.Join(allowed, ", "))
			if err != nil {
				return err
			}
			if slices.Contains(allowed, v) {
				*at(c) = v
				return nil
			}
			return fmt.Errorf("is %q: want %s%s", v, strings.Join(allowed, ", "), suggestion(v, allowed))
		},
	}
}

func boolean(key, field, doc string, at func(*Config) *bool) setting {
	return setting{
		key: key, field: field, doc: doc,
		get: func(c *Config) string { return strconv.FormatBool(*at(c)) },
		set: func(c *Config, values []string) error {
			v, err := scalar(values, "true or false")
			if err != nil {
				return err
			}
			switch v {
			case "true", "false":
				*at(c) = v == "true"
				return nil
			}
			return fmt.Errorf("is %q: want true or false", v)
		},
	}
}

func number[T int | int64](key, field, doc string, at func(*Config) *T) setting {
	return setting{
		key: key, field: field, doc: doc,
		get: func(c *Config) string { return strconv.FormatInt(int64(*at(c)), 10) },
		set: func(c *Config, values []string) error {
			v, err := scalar(values, "a number")
			if err != nil {
				return err
			}
			n, err := strconv.ParseInt(strings.ReplaceAll(v, "_", ""), 10, 64)
			if err != nil {
				return fmt.Errorf("is %q: want a whole number", v)
			}
			*at(c) = T(n)
			return nil
		},
	}
}

func duration(key, field, doc string, at func(*Config) *time.Duration) setting {
	return setting{
		key: key, field: field, doc: doc,
		get: func(c *Config) string { return at(c).String() },
		set: func(c *Config, values []string) error {
			v, err := scalar(values, "a duration")
			if err != nil {
				return err
			}
			d, err := time.ParseDuration(v)
			if err != nil {
				return fmt.Errorf("is %q: want a number with a unit (ms, s, m, h), such as 10s", v)
			}
			*at(c) = d
			return nil
		},
	}
}

// units of sizes, the longest names first.
var units = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}, {"", 1}}

func size[T int | int64](key, field, doc string, at func(*Config) *T) setting {
	return setting{
		key: key, field: field, doc: doc,
		get: func(c *Config) string { return formatSize(int64(*at(c))) },
		set: func(c *Config, values []string) error {
			v, err := scalar(values, "a size")
			if err != nil {
				return err
			}
			n, err := parseSize(v)
			if err != nil {
				return err
			}
			*at(c) = T(n)
			return nil
		},
	}
}

func parseSize(v string) (int64, error) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(v, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > (1<<62)/u.bytes {
			break
		}
		return n * u.bytes, nil
	}
	return 0, fmt.Errorf("is %q: want a size in B, KiB, MiB or GiB, such as 64KiB", v)
}

func formatSize(n int64) string {
	for i := len(units) - 3; i >= 0; i-- {
		if u := units[i]; n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
