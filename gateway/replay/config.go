package replay

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"weir/gateway/policy"
)

// Bounds of a replay.
const (
	// maxLineBytes bounds a line; a longer one is not read.
	maxLineBytes = 64 << 10
	// maxHeld bounds the lines that are held to be put in order, of all logs together.
	maxHeld = 1 << 16
	// maxFlights bounds the requests that are under way.
	maxFlights = 1 << 14
	// maxLogs bounds the logs.
	maxLogs = 1024
	// maxBadLines bounds the bad lines that are shown.
	maxBadLines = 5
	// maxMinutes bounds the minutes that are shown.
	maxMinutes = 10
	maxClients = 1 << 22
	maxTop     = 10_000
)

// Config says what is replayed, and beside what. Candidate alone is needed.
type Config struct {
	// Rules are the gateway's. Without routes all requests are of one, and hosts and paths do not matter.
	Rules policy.Config
	// Candidate is what is tried. It holds where Rules name it, and in the place of Beside; if that is nowhere, for all routes.
	Candidate policy.Policy
	// Beside is what it is compared with, and held in its place then; nil for what the log says.
	Beside *policy.Policy
	// Alone has no other policy of Rules hold in either world.
	Alone bool
	// Fields are the fields of lines of JSON by what they say, see [Roles]; the usual names of others are known. A field in an object is
	// named with a dot, such as request.client_ip.
	Fields map[string]string
	// Keys are the fields of lines of JSON with what policies are keyed by: header:X-Tenant or claim:tenant.
	Keys map[string]string
	// Statuses are those by which the log says that a request was limited. Default 429.
	Statuses []int
	// Host is that of requests whose line has none.
	Host string
	// Window is how much lines may be out of order. 0 to 10 min; 10 s is a good one.
	Window time.Duration
	// Clients is of how many clients all is known. 16 to 4,194,304, default 131,072. Each takes about 300 bytes, and what 8 owe 512.
	Clients int
	// Top is how many clients the report lists. 1 to 10,000, default 20.
	Top int
}

// Source is a log. It is gzip if its name ends in .gz.
type Source struct {
	Name string
	io.Reader
}

func (c Config) withDefaults() Config {
	if c.Clients == 0 {
		c.Clients = 1 << 17
	}
	if c.Top == 0 {
		c.Top = 20
	}
	if len(c.Statuses) == 0 {
		c.Statuses = []int{429}
	}
	return c
}

// Validate reports what is out of range, joined; nil if nothing is. The policies are checked by [Run].
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: %w", ErrBadConfig, fmt.Errorf(format, args...)))
	}
	if c.Window < 0 || c.Window > 10*time.Minute {
		bad("the window is %v: want 0s to 10m", c.Window)
	}
	if c.Clients < 16 || c.Clients > maxClients {
		bad("clients is %d: want 16 to %d", c.Clients, maxClients)
	}
	if c.Top < 1 || c.Top > maxTop {
		bad("the clients listed are %d: want 1 to %d", c.Top, maxTop)
	}
	for _, s := range c.Statuses {
		if s < 100 || s > 999 {
			bad("a status is %d: want 100 to 999", s)
		}
	}
	for name := range c.Fields {
		if !slices.Contains(Roles(), name) {
			bad("a field is for %q: want %s", name, strings.Join(Roles(), ", "))
		}
	}
	for name := range c.Keys {
		if p, err := policy.ParseKeyPart(name); err != nil || p.Kind != policy.KeyField && p.Kind != policy.KeyClaim {
			bad("a key is for %q: want header:NAME or claim:NAME", name)
		}
	}
	return errors.Join(errs...)
}
