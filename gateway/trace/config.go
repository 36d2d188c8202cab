package trace

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// From is whose traces are continued.
type From uint8

// The kinds of From.
const (
	// FromProxies continues those of trusted proxies.
	FromProxies From = iota
	// FromAll continues everybody's: each client decides what is sampled.
	FromAll
	// FromNobody continues none.
	FromNobody
	froms
)

var fromNames = [froms]string{"proxies", "all", "none"}

// String is the name that ParseFrom reads.
func (f From) String() string { return fromNames[f] }

// ParseFrom reads proxies, all or none.
func ParseFrom(text string) (From, error) {
	for f := range froms {
		if text == f.String() {
			return f, nil
		}
	}
	return 0, fmt.Errorf("is %q: want %s", text, strings.Join(fromNames[:], ", "))
}

// Config configures a [Tracer].
type Config struct {
	// Endpoint is the collector's URL, http:// or https://; without a path it is that of OTLP, /v1/traces.
	Endpoint string
	// Header has what each request to it has, such as a key.
	Header map[string]string
	// Sample is the part of the requests without a trace of their own that is sampled, 0 to 1.
	Sample float64
	// From is whose traces are continued.
	From From
	// Service and Version are what spans say that they are of. Default "weir-gateway" and none.
	Service, Version string
}

// FieldError says which field of a Config is out of range, and what would be right.
type FieldError struct {
	Field string
	Value any
	Want  string
}

// Error is "trace.Field is Value: want Want".
func (e *FieldError) Error() string {
	return fmt.Sprintf("trace.%s is %v: want %s", e.Field, e.Value, e.Want)
}

// Validate reports every field that is out of range, joined; nil if all are fine.
func (c Config) Validate() error {
	var errs []error
	if _, err := c.url(); err != nil {
		errs = append(errs, err)
	}
	if !(c.Sample >= 0 && c.Sample <= 1) {
		errs = append(errs, &FieldError{"Sample", c.Sample, "a part, 0 to 1"})
	}
	if c.From >= froms {
		errs = append(errs, &FieldError{"From", uint8(c.From), "proxies, all or none"})
	}
	return errors.Join(errs...)
}

// url is the endpoint with its path. One that is wrong is not repeated: it may have a key in it.
func (c Config) url() (string, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", &FieldError{"Endpoint", "no such URL", "http://HOST:4318 or https://HOST/PATH; credentials go in a header"}
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

// ParseHeader reads lines of NAME: VALUE; empty ones, and those that begin with #, are left out.
func ParseHeader(text string) (map[string]string, error) {
	header := map[string]string{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" || value == "" || strings.ContainsAny(name, " \t\"(),/;<=>?@[\\]{}") || strings.ContainsFunc(line, isControl) {
			return nil, fmt.Errorf("line %d of the headers is none: want NAME: VALUE", n) // it may be a secret
		}
		header[http.CanonicalHeaderKey(name)] = value
	}
	return header, nil
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
