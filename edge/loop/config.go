package loop

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"weir/broker"
	"weir/edge/hub"
	"weir/ratelimit"
	"weir/token"
)

// Config configures a [Server]. The zero value is valid: one loop per CPU on :8000.
type Config struct {
	// Listen is the TCP address to serve, host:port. Port 0 takes a free one. Default
	// ":8000".
	Listen string
	// SharedPort has other processes listen on Listen as well, whose port is not 0; somebody else
	// sees to it that they are ours, see [Hold].
	SharedPort bool
	// Loops is the number of event loops, 1 to 256. Default one per CPU.
	Loops int
	// MaxConns bounds the conns held at once; past it new ones get 503. 1 to 100 million.
	// Default: the process's descriptor limit less a reserve, see [DefaultMaxConns].
	MaxConns int
	// MaxPendingBytes bounds the answers to its messages that a conn may leave unread; at the bound
	// it is closed with [ReasonSlowConsumer]. Events are not queued: who does not keep up falls
	// behind, and is closed if it takes nothing between two pings. Bytes, 4 KiB to 64 MiB, default
	// 1 MiB.
	MaxPendingBytes int
	// MaxHeldBytes bounds the bytes that all clients which do not read have the node hold, in the
	// process and in their sockets: past it those that have been behind the longest are closed with
	// [ReasonSlowConsumer]. Bytes, 1 MiB to 1 TiB, default 512 MiB.
	MaxHeldBytes int
	// MaxMessageBytes bounds a message from a client, whole and each of its frames. Bytes,
	// 125 to 64 MiB, default 64 KiB.
	MaxMessageBytes int
	// MaxHeadBytes bounds a request head. Bytes, 512 to 64 KiB, default 8 KiB: one that comes byte
	// by byte is looked at anew each time.
	MaxHeadBytes int
	// MaxTopics bounds the topics one conn may subscribe to. 1 to 1024, default 64.
	MaxTopics int
	// HandshakeTimeout bounds the time from accept to the answer. 100 ms to 2 min, default
	// 10 s.
	HandshakeTimeout time.Duration
	// PingInterval is the time between pings (comments on a server-sent stream). 1 s to 1 h,
	// default 25 s.
	PingInterval time.Duration
	// PongTimeout is how long a client may take to answer a ping, or a stream's kernel to acknowledge the
	// comment, before it is closed with [ReasonPongTimeout]. 100 ms to 10 min, default 10 s.
	PongTimeout time.Duration
	// DrainTimeout bounds the window over which conns are closed at shutdown: it is as long as it
	// takes for them to come back at the most conns a second that this edge was seen to accept, or
	// 1000. 0 to 1 h, default 30 s.
	DrainTimeout time.Duration
	// DrainTo is where clients are told to connect then, a URL of at most 80 bytes; empty: again
	// where they were.
	DrainTo string
	// Modes say what subscribers that do not keep up with a topic are sent, the first that matches;
	// every event if none does.
	Modes []hub.ModeRule
	// Compression is whether a WebSocket client that offers permessage-deflate is sent compressed
	// messages: [CompressionAuto] or [CompressionOff]. Default [CompressionAuto].
	Compression string
	// Takeover is the path of the socket at which a process with --takeover finds this one. Default
	// [DefaultTakeover]; [TakeoverOff] for none.
	Takeover string
	// Echo opens /echo, which answers each message with itself, for conformance suites.
	Echo bool
	// AllowedOrigins are the values of the Origin header let in; "*" lets in all, also
	// requests without one. Default ["*"].
	AllowedOrigins []string
	// Tokens checks the tokens that clients bring; nil: none are looked at.
	Tokens *token.Verifier
	// Anonymous is whether clients without a token are let in: [AnonymousOn], [AnonymousOff] or [AnonymousAuto], which
	// is if Tokens is nil. Default [AnonymousAuto].
	Anonymous string
	// AnonymousTopics are the topics, and patterns, that a client may subscribe to that has no token, or one that does
	// not say to which. An empty list allows none. Default [">"], all.
	AnonymousTopics []broker.Pattern
	// MaxConnsPerIdentity bounds the conns held at once whose tokens have one subject. Past it new ones get 429. 0 to
	// 100 million, default 0: no bound.
	MaxConnsPerIdentity int
	// Binder is told which connection is of which identity; nil: nobody is.
	Binder Binder
	// MaxConnsPerPrefix bounds the conns held at once of one client: of addresses that have
	// their first PrefixIPv4 or PrefixIPv6 bits in common. Past it new ones get 429. 0 to 100
	// million, default 0: no bound, since behind one address there may be a whole town.
	MaxConnsPerPrefix int
	// PrefixIPv4 is 1 to 32, default 32; PrefixIPv6 1 to 128, default 64.
	PrefixIPv4, PrefixIPv6 int
	// AcceptRate bounds the new conns of all clients together, past it they get 503;
	// AcceptRatePerPrefix those of one client, past it they get 429. A second's worth may come
	// at once. Default none.
	AcceptRate, AcceptRatePerPrefix ratelimit.Rate
	// ProxyProtocol are the prefixes of proxies whose conns begin with a PROXY header, at most
	// 256. What a header names is the client for all of the above. Default none.
	ProxyProtocol []netip.Prefix
	// TLSListen is the TCP address to serve wss:// and https:// on, host:port. Default none.
	TLSListen string
	// TLSCertificates are pairs of PEM files, "CERT.pem:KEY.pem". A client that names a server is
	// given the first that is for that name, else the first of all. Files that change are read again.
	TLSCertificates []string
	// TLSMinVersion is the oldest version spoken, [TLS12] or [TLS13]. Default [TLS12].
	TLSMinVersion string
	// TLSHandshakes bounds the handshakes under way at once; as many more wait, and past these conns
	// are closed with [ReasonRefusedFull]. 1 to 65536, default 1024.
	TLSHandshakes int
	// KTLS is whether the kernel makes the records of TLS 1.3 conns if it can: [KTLSAuto] or
	// [KTLSOff]. Default [KTLSAuto].
	KTLS string
}

// Values of [Config.Compression].
const (
	CompressionAuto = "auto"
	CompressionOff  = "off"
)

// FieldError says which field of a Config is out of range, and what would be right.
type FieldError struct {
	Field string
	Value any
	Want  string
}

// Error is "Field is Value: want Want".
func (e *FieldError) Error() string {
	return fmt.Sprintf("edge.%s is %v: want %s", e.Field, e.Value, e.Want)
}

// Defaults is c with every zero field at its default.
func (c Config) Defaults() Config {
	if c.Listen == "" {
		c.Listen = ":8000"
	}
	if c.Loops == 0 {
		c.Loops = min(runtime.GOMAXPROCS(0), maxLoops)
	}
	if c.MaxConns == 0 {
		c.MaxConns = DefaultMaxConns()
	}
	for _, d := range []struct {
		field *int
		value int
	}{
		{&c.MaxPendingBytes, 1 << 20},
		{&c.MaxHeldBytes, 512 << 20},
		{&c.MaxMessageBytes, 64 << 10},
		{&c.MaxHeadBytes, 8 << 10},
		{&c.MaxTopics, 64},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.HandshakeTimeout, 10 * time.Second},
		{&c.PingInterval, 25 * time.Second},
		{&c.PongTimeout, 10 * time.Second},
		{&c.DrainTimeout, 30 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Compression == "" {
		c.Compression = CompressionAuto
	}
	c.defaultAdmission()
	c.defaultTLS()
	c.defaultTokens()
	if c.AllowedOrigins == nil {
		c.AllowedOrigins = []string{"*"}
	}
	return c
}

// maxLoops is gnet's own limit.
const maxLoops = 256

// Validate reports every field that is out of range, joined; nil if all are fine.
func (c Config) Validate() error {
	c = c.Defaults()
	var errs []error
	for _, r := range []struct {
		field            string
		value, low, high int
	}{
		{"Loops", c.Loops, 1, maxLoops},
		{"MaxConns", c.MaxConns, 1, 100_000_000},
		{"MaxPendingBytes", c.MaxPendingBytes, 4 << 10, 64 << 20},
		{"MaxHeldBytes", c.MaxHeldBytes, 1 << 20, 1 << 40},
		{"MaxMessageBytes", c.MaxMessageBytes, 125, 64 << 20},
		{"MaxHeadBytes", c.MaxHeadBytes, 512, 64 << 10},
		{"MaxTopics", c.MaxTopics, 1, 1024},
	} {
		if r.value < r.low || r.value > r.high {
			errs = append(errs, &FieldError{r.field, r.value, fmt.Sprintf("%d to %d", r.low, r.high)})
		}
	}
	for _, r := range []struct {
		field            string
		value, low, high time.Duration
	}{
		{"HandshakeTimeout", c.HandshakeTimeout, 100 * time.Millisecond, 2 * time.Minute},
		{"PingInterval", c.PingInterval, time.Second, time.Hour},
		{"PongTimeout", c.PongTimeout, 100 * time.Millisecond, 10 * time.Minute},
		{"DrainTimeout", c.DrainTimeout, 0, time.Hour},
	} {
		if r.value < r.low || r.value > r.high {
			errs = append(errs, &FieldError{r.field, r.value, fmt.Sprintf("%v to %v", r.low, r.high)})
		}
	}
	if len(c.DrainTo) > maxDrainTo {
		errs = append(errs, &FieldError{"DrainTo", c.DrainTo, fmt.Sprintf("a URL of at most %d bytes", maxDrainTo)})
	}
	if c.Compression != CompressionAuto && c.Compression != CompressionOff {
		errs = append(errs, &FieldError{"Compression", c.Compression, "auto or off"})
	}
	errs = append(errs, c.checkTokens()...)
	errs = append(errs, c.checkAdmission()...)
	return errors.Join(append(errs, c.checkTLS()...)...)
}

// maxDrainTo lets a URL fit a close frame beside its text.
const maxDrainTo = 80
