package policy

import (
	"net/netip"
	"time"

	"weir/ratelimit"
)

// Bounds of a configuration.
const (
	MaxRoutes    = 10_000
	MaxPolicies  = 1000
	MaxConsumers = 1_000_000
	// MaxChecks bounds the policies that one request is charged to: its route's and its plan's.
	MaxChecks = 16
	// MaxCost bounds what a request of a route costs.
	MaxCost = 1_000_000
)

// Config is the rules as an operator writes them.
type Config struct {
	Policies  []Policy
	Plans     []Plan
	Consumers []Consumer
	Routes    []Route
	// AnonymousPlan is the plan of who is nobody, DefaultPlan that of an identity without one. Empty for none.
	AnonymousPlan, DefaultPlan string
	// TrustedProxies are the prefixes whose ForwardedField is believed. At most 256.
	TrustedProxies []netip.Prefix
	// ForwardedField is where they say who the client is, a list of addresses. Default X-Forwarded-For.
	ForwardedField string
	// KeyField is the field with API keys. Default X-Api-Key.
	KeyField string
	// LoosePaths lets through what upstreams may read in two ways: empty segments (//) and encoded slashes (%2F).
	LoosePaths bool
	// MaxInFlight bounds the requests that are served at once; past it the least urgent are refused first, see
	// [Priority]. 0 to 10 million, default 0: no bound.
	MaxInFlight int
}

// Policy is a quota, and whom it is charged to.
type Policy struct {
	Quota ratelimit.Quota
	// Key are the parts that tell clients apart. Default the address.
	Key []KeyPart
	// Missing is what becomes of a request that lacks a part.
	Missing Missing
	// Shadow has it only say what it would refuse.
	Shadow bool
	// Shared has it in the store that gateways share.
	Shared bool
}

// Plan is the policies of those who have it.
type Plan struct {
	Name     string
	Policies []string
}

// Consumer is a client that is known by API keys, or the subject of a token with a plan of its own.
type Consumer struct {
	// Name is its identity.
	Name string
	// Plan is its plan; empty for [Config.DefaultPlan].
	Plan string
	// Keys are SHA-256 sums of its API keys, see [SumKey]. None for one that comes with tokens alone.
	Keys [][32]byte
}

// Route is where requests go, and what holds for them.
type Route struct {
	// Name tells it apart, in metrics and logs.
	Name string
	// Hosts are names such as api.example.com, *.example.com, or * for any. Default any.
	Hosts []string
	// Path is /a for /a and all below it, or =/a for that alone. Default /.
	Path string
	// Methods are those it takes; empty for all.
	Methods []string
	// Upstream is the name of where requests go.
	Upstream string
	// Policies are charged, beside those of the client's plan.
	Policies []string
	// Cost is what a request takes of quotas of requests. 1 to [MaxCost], default 1.
	Cost uint64
	// Auth is who may come.
	Auth Auth
	// Priority is how urgent its requests are when there are too many.
	Priority Priority
	// Tell is what clients are told of their quotas.
	Tell Tell
	// HideCredentials keeps API keys and tokens from the upstream.
	HideCredentials bool
	// KeepHost sends the client's Host to the upstream, instead of the server's address.
	KeepHost bool
	// StripPath takes Path off what the upstream is asked for.
	StripPath bool
	// MaxBody bounds the body of a request, bytes. 0 to 1 TiB, default 0: 16 MiB; -1 for no bound.
	MaxBody int64
	// Timeout bounds the time from a request's head to the end of its answer's. 0: 60 s; 1 ms to 1 h.
	Timeout time.Duration
	// IdleTimeout bounds how long neither side of a body may move. 0: 60 s; 1 ms to 24 h.
	IdleTimeout time.Duration

	number int // among Rules.Routes
	sets   map[*plan]*set
	plain  *set // of no plan
}

// Number is the route's place in [Rules.Routes].
func (r *Route) Number() int { return r.number }

// Auth is who may come.
type Auth uint8

// The kinds of Auth.
const (
	// AuthDefault is AuthRequired if there are consumers or tokens, else AuthNone.
	AuthDefault Auth = iota
	// AuthNone looks at no credential, and leaves them to the upstream.
	AuthNone
	// AuthOptional lets in who has none.
	AuthOptional
	// AuthRequired refuses who has none.
	AuthRequired
)

// Priority is how urgent requests are.
type Priority uint8

// The priorities. Of [Config.MaxInFlight] requests at once, low ones may be the first 80 %, normal ones the first 95 %: a
// part is always left for what is critical (Stripe, "Scaling your API with rate limiters", 2017).
const (
	PriorityNormal Priority = iota
	PriorityLow
	PriorityCritical
	priorities
)

// Tell is which fields answers have.
type Tell uint8

// The ways to tell.
const (
	// TellDraft is RateLimit and RateLimit-Policy.
	TellDraft Tell = iota
	// TellBoth has the older X-RateLimit ones beside them.
	TellBoth
	// TellNone is Retry-After of refusals alone.
	TellNone
)

var (
	authNames     = [...]string{"default", "none", "optional", "required"}
	priorityNames = [...]string{"normal", "low", "critical"}
	tellNames     = [...]string{"draft", "both", "none"}
	missingNames  = [...]string{"address", "skip", "refuse"}
)

// String is the name that ParseAuth reads.
func (a Auth) String() string { return nameOf(authNames[:], a) }

// String is the name that ParsePriority reads.
func (p Priority) String() string { return nameOf(priorityNames[:], p) }

// String is the name that ParseTell reads.
func (t Tell) String() string { return nameOf(tellNames[:], t) }

// String is the name that ParseMissing reads.
func (m Missing) String() string { return nameOf(missingNames[:], m) }

// ParseAuth reads none, optional or required.
func ParseAuth(text string) (Auth, error) { return parseName[Auth](authNames[:], text) }

// ParsePriority reads low, normal or critical.
func ParsePriority(text string) (Priority, error) {
	return parseName[Priority](priorityNames[:], text)
}

// ParseTell reads draft, both or none.
func ParseTell(text string) (Tell, error) { return parseName[Tell](tellNames[:], text) }

// ParseMissing reads address, skip or refuse.
func ParseMissing(text string) (Missing, error) { return parseName[Missing](missingNames[:], text) }

func (p Policy) withDefaults() Policy {
	if len(p.Key) == 0 {
		p.Key = []KeyPart{{Kind: KeyAddress, IPv4Bits: DefaultIPv4Bits, IPv6Bits: DefaultIPv6Bits}}
	}
	return p
}

func (r Route) withDefaults(open bool) Route {
	if len(r.Hosts) == 0 {
		r.Hosts = []string{"*"}
	}
	if r.Path == "" {
		r.Path = "/"
	}
	r.Cost = max(r.Cost, 1)
	switch {
	case r.Auth != AuthDefault:
	case open:
		r.Auth = AuthNone
	default:
		r.Auth = AuthRequired
	}
	if r.MaxBody == 0 {
		r.MaxBody = 16 << 20
	}
	if r.Timeout == 0 {
		r.Timeout = time.Minute
	}
	if r.IdleTimeout == 0 {
		r.IdleTimeout = time.Minute
	}
	return r
}

func (c Config) withDefaults() Config {
	if c.ForwardedField == "" {
		c.ForwardedField = "X-Forwarded-For"
	}
	if c.KeyField == "" {
		c.KeyField = "X-Api-Key"
	}
	return c
}
