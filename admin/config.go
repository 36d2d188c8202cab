package admin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Config configures a [Server]. The zero value is valid: loopback, no key.
type Config struct {
	// Listen is the TCP address to serve, host:port. Default "127.0.0.1:8001".
	Listen string
	// APIKey is asked for on everything but health, if set; it must be unless Listen is a
	// loopback address.
	APIKey string
}

// FieldError says which field of a Config is wrong, and what would be right.
type FieldError struct {
	Field string
	Value any
	Want  string
}

// Error is "Field is Value: want Want".
func (e *FieldError) Error() string {
	return fmt.Sprintf("admin.%s is %v: want %s", e.Field, e.Value, e.Want)
}

// Defaults is c with every zero field at its default.
func (c Config) Defaults() Config {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:8001"
	}
	return c
}

// Validate reports every field that is wrong, joined; nil if all are fine.
func (c Config) Validate() error {
	c = c.Defaults()
	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil:
		return errors.Join(&FieldError{"Listen", c.Listen, "host:port, such as 127.0.0.1:8001"})
	case c.APIKey == "" && !isLoopback(host):
		return errors.Join(&FieldError{"APIKey", `""`, fmt.Sprintf("a key, since %s is not a loopback address: set one, or listen on 127.0.0.1", c.Listen)})
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
