package upstream

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestZeroConfigWithServersIsValid(t *testing.T) {
	c := Config{Servers: servers(2)}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.Servers[0].Weight != 0 {
		t.Error("the caller's Config was changed")
	}
	d := c.withDefaults()
	if d.Servers[0].Weight != 1 || d.PanicPercent != 50 || d.Ejection.Max != 5*time.Minute || d.Retries.Attempts != 2 {
		t.Errorf("defaults are %+v", d)
	}
	if err := d.Validate(); err != nil {
		t.Errorf("the defaults are no valid Config: %v", err)
	}
}

func TestEachFieldOutOfRangeIsReported(t *testing.T) {
	for _, tt := range []struct {
		field string
		set   func(*Config)
	}{
		{"Servers", func(c *Config) { c.Servers = nil }},
		{"Servers", func(c *Config) { c.Servers = servers(MaxServers + 1) }},
		{"Servers[0].Address", func(c *Config) { c.Servers[0].Address = "192.0.2.1" }},
		{"Servers[0].Address", func(c *Config) { c.Servers[0].Address = "a b:80" }},
		{"Servers[0].Address", func(c *Config) { c.Servers[0].Address = ":80" }},
		{"Servers[0].Address", func(c *Config) { c.Servers[0].Address = "a:0" }},
		{"Servers[0].Address", func(c *Config) { c.Servers[0].Address = "a:65536" }},
		{"Servers[0].Address", func(c *Config) { c.Servers[0].Address = "http://a:80" }},
		{"Servers[1].Address", func(c *Config) { c.Servers[1] = c.Servers[0] }},
		{"Servers[1].Address", func(c *Config) { c.Servers[0].Address, c.Servers[1].Address = "a.b:80", "A.b:80" }},
		{"Servers[1].Address", func(c *Config) { c.Servers[1].Address = "[::ffff:192.0.2.0]:80" }},
		{"Servers[1].Weight", func(c *Config) { c.Servers[1].Weight = 257 }},
		{"Servers[1].Weight", func(c *Config) { c.Servers[1].Weight = -1 }},
		{"Balance", func(c *Config) { c.Balance = balances }},
		{"HashBalanceFactor", func(c *Config) { c.HashBalanceFactor = 99 }},
		{"MaxConns", func(c *Config) { c.MaxConns = -1 }},
		{"SlowStart", func(c *Config) { c.SlowStart = -1 }},
		{"PanicPercent", func(c *Config) { c.PanicPercent = 101 }},
		{"Resolve", func(c *Config) { c.Resolve = time.Millisecond }},
		{"Health.Path", func(c *Config) { c.Health.Path = "healthz" }},
		{"Health.Path", func(c *Config) { c.Health.Path = "/a b" }},
		{"Health.Path", func(c *Config) { c.Health.Path = "/a\r\nX: y" }},
		{"Health.Path", func(c *Config) { c.Health.Path = "/a#b" }},
		{"Health.Path", func(c *Config) { c.Health.Path = "/%zz" }},
		{"Health.Path", func(c *Config) { c.Health.Path = "/" + strings.Repeat("x", 1024) }},
		{"Health.Host", func(c *Config) { c.Health.Host = "a\r\nX: y" }},
		{"Health.Host", func(c *Config) { c.Health.Host = "a/b" }},
		{"Health.Interval", func(c *Config) { c.Health.Interval = time.Millisecond }},
		{"Health.Interval", func(c *Config) { c.Health.Interval = -1 }},
		{"Health.Timeout", func(c *Config) { c.Health.Interval, c.Health.Timeout = time.Second, 2*time.Second }},
		{"Health.Rise", func(c *Config) { c.Health.Rise = -1 }},
		{"Health.Fall", func(c *Config) { c.Health.Fall = 101 }},
		{"Health.ExpectMin", func(c *Config) { c.Health.ExpectMin = 99 }},
		{"Health.ExpectMax", func(c *Config) { c.Health.ExpectMax = 600 }},
		{"Health.ExpectMax", func(c *Config) { c.Health.ExpectMin, c.Health.ExpectMax = 300, 200 }},
		{"Ejection.ConsecutiveGateway", func(c *Config) { c.Ejection.ConsecutiveGateway = 10001 }},
		{"Ejection.Consecutive5xx", func(c *Config) { c.Ejection.Consecutive5xx = -1 }},
		{"Ejection.Interval", func(c *Config) { c.Ejection.Interval = time.Millisecond }},
		{"Ejection.Base", func(c *Config) { c.Ejection.Base = time.Millisecond }},
		{"Ejection.Max", func(c *Config) { c.Ejection.Base, c.Ejection.Max = time.Minute, time.Second }},
		{"Ejection.MaxPercent", func(c *Config) { c.Ejection.MaxPercent = -1 }},
		{"Ejection.StdevFactor", func(c *Config) { c.Ejection.StdevFactor = 99 }},
		{"Ejection.RequestVolume", func(c *Config) { c.Ejection.RequestVolume = -1 }},
		{"Ejection.MinimumServers", func(c *Config) { c.Ejection.MinimumServers = 2 }},
		{"Retries.Attempts", func(c *Config) { c.Retries.Attempts = 11 }},
		{"Retries.BudgetPercent", func(c *Config) { c.Retries.BudgetPercent = 1001 }},
		{"Retries.MinPerSecond", func(c *Config) { c.Retries.MinPerSecond = 1<<20 + 1 }},
		{"Retries.Window", func(c *Config) { c.Retries.Window = time.Hour }},
	} {
		c := Config{Name: "api", Servers: servers(2)}
		tt.set(&c)
		err := c.Validate()
		if got := fields(err); !slices.Equal(got, []string{tt.field}) {
			t.Errorf("%s: reported are %q: %v", tt.field, got, err)
		} else if !strings.HasPrefix(err.Error(), "upstream api: "+tt.field+" is ") || !strings.Contains(err.Error(), ": want ") {
			t.Errorf("%s: the error is %q", tt.field, err)
		}
		if _, err := New(c, Env{}, epoch); err == nil {
			t.Errorf("%s: New takes it", tt.field)
		}
	}
}

// fields are those that a Validate complains of.
func fields(err error) (all []string) {
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // the joined error itself is looked into
	if !ok {
		return nil
	}
	for _, e := range joined.Unwrap() {
		if fe, ok := errors.AsType[*FieldError](e); ok {
			all = append(all, fe.Field)
		}
	}
	return all
}

func TestAllFieldsOutOfRangeAreReportedAtOnce(t *testing.T) {
	err := Config{MaxConns: -1, PanicPercent: 101}.Validate()
	if got := fields(err); !slices.Equal(got, []string{"Servers", "MaxConns", "PanicPercent"}) {
		t.Errorf("reported are %q", got)
	}
}

func TestNegativeTurnsOffWhatMayBe(t *testing.T) {
	c := Config{
		Servers: servers(1), Ejection: Ejection{ConsecutiveGateway: -1, StdevFactor: -1},
		Retries: Retries{BudgetPercent: -1, MinPerSecond: -1},
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestNamesAreReadAsWritten(t *testing.T) {
	for b := range balances {
		if got, err := ParseBalance(b.String()); got != b || err != nil {
			t.Errorf("%v: %v, %v", b, got, err)
		}
	}
	if b, err := ParseBalance(""); b != LeastRequest || err != nil {
		t.Errorf("empty: %v, %v", b, err)
	}
	if _, err := ParseBalance("random"); !errors.Is(err, ErrBadBalance) {
		t.Errorf("random: %v", err)
	}
}
