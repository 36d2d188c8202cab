package policy

import (
	"errors"
	"fmt"
	"time"
)

// validate reports all that is out of range.
func (r *Route) validate() error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("routes.%s: %s is %v: want %s", r.Name, field, value, want))
	}
	if r.Name == "" {
		bad("name", `""`, "a name")
	}
	if r.Upstream == "" {
		bad("upstream", `""`, "the name of an upstream")
	}
	if r.Cost > MaxCost {
		bad("cost", r.Cost, fmt.Sprintf("1 to %d", MaxCost))
	}
	if r.MaxBody < -1 || r.MaxBody > 1<<40 {
		bad("max_body", r.MaxBody, "0 to 1TiB, or none")
	}
	if r.Timeout < time.Millisecond || r.Timeout > time.Hour {
		bad("timeout", r.Timeout, "1ms to 1h")
	}
	if r.IdleTimeout < time.Millisecond || r.IdleTimeout > 24*time.Hour {
		bad("idle_timeout", r.IdleTimeout, "1ms to 24h")
	}
	for _, m := range r.Methods {
		if !isToken(m) {
			bad("methods", m, "methods such as GET")
		}
	}
	return errors.Join(errs...)
}
