package httpload

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Config is what a generator is told, the first line of its input.
type Config struct {
	// To is the server, Target the path and query asked for. With Beside one half of the requests, drawn at random, asks for that:
	// their latencies are apart, what held up the host is the same for both.
	To     netip.AddrPort `json:"to"`
	Target string         `json:"target"`
	Beside string         `json:"beside,omitempty"`
	// Conns are kept open, from the Sources in turn; an empty list leaves it to the kernel. 1 to 20000.
	Conns   int          `json:"conns"`
	Sources []netip.Addr `json:"sources,omitempty"`
	// PerSecond is how many requests are due a second, of all conns together. 1 to 1 million.
	PerSecond float64 `json:"per_second"`
	// Warm is how long requests are due before those that count, Duration how long those are. 0 to 1 h, 1 ms to 1 h.
	Warm     time.Duration `json:"warm"`
	Duration time.Duration `json:"duration"`
	// Timeout bounds a request from when it is sent, and a connect; past it the conn is reset and
	// opened anew. 10 ms to 1 min, default 5 s.
	Timeout time.Duration `json:"timeout"`
}

// CommandRun starts the schedule: a line on the generator's input.
const CommandRun = "run"

// Report is what a generator says: a line when its conns are open, and one at the end.
type Report struct {
	Connected int `json:"connected"`
	// Due are the requests that were, in the time that counts. All that follows is of those.
	Due uint64 `json:"due"`
	// OK got an answer below 400, Refused a 429 or 503, Failed any other one.
	OK      uint64 `json:"ok"`
	Refused uint64 `json:"refused"`
	Failed  uint64 `json:"failed"`
	// Lost got none: it timed out, or the conn ended. Unsent were due while all conns waited, until
	// the end.
	Lost   uint64 `json:"lost"`
	Unsent uint64 `json:"unsent"`
	// Answered are all answers, of requests before the time that counts too.
	Answered uint64 `json:"answered"`
	// Reopened are conns that were opened again, in all the time.
	Reopened uint64 `json:"reopened"`
	// Latency is of OK, from when a request was due: histogram of ns, HdrHistogram V2 compressed.
	Latency []byte `json:"latency,omitempty"`
	// LatencyBeside is of those of OK that asked for Beside, which are not in Latency then.
	LatencyBeside []byte `json:"latency_beside,omitempty"`
	// Seconds are those that counted.
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// Bounds of a Config.
const (
	MaxConns     = 20_000
	MaxPerSecond = 1_000_000
)

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Target == "" {
		c.Target = "/"
	}
	return c
}

// Validate says what is wrong, joined; nil if nothing is.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	check := func(fine bool, name string, value any, want string) {
		if !fine {
			errs = append(errs, fmt.Errorf("%s is %v: want %s", name, value, want))
		}
	}
	check(c.To.IsValid(), "to", c.To, "an address and a port")
	check(c.Target[0] == '/', "target", c.Target, "a path, such as /")
	check(c.Beside == "" || c.Beside[0] == '/', "beside", c.Beside, "a path, such as /, or nothing")
	check(c.Conns >= 1 && c.Conns <= MaxConns, "conns", c.Conns, fmt.Sprintf("1 to %d", MaxConns))
	check(c.PerSecond >= 1 && c.PerSecond <= MaxPerSecond, "per_second", c.PerSecond, fmt.Sprintf("1 to %d", MaxPerSecond))
	check(c.Warm >= 0 && c.Warm <= time.Hour, "warm", c.Warm, "0s to 1h")
	check(c.Duration >= time.Millisecond && c.Duration <= time.Hour, "duration", c.Duration, "1ms to 1h")
	check(c.Timeout >= 10*time.Millisecond && c.Timeout <= time.Minute, "timeout", c.Timeout, "10ms to 1m")
	for _, s := range c.Sources {
		check(s.Is4() == c.To.Addr().Is4(), "sources", s, "addresses of the server's family")
	}
	return errors.Join(errs...)
}
