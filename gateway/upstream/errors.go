package upstream

import (
	"errors"
	"fmt"
)

// Errors of this package, to be tested for with [errors.Is].
var (
	// ErrNone says that no server may be used: there is none, or all are down. A gateway answers 503.
	ErrNone = errors.New("no upstream server is healthy")
	// ErrFull says that all that may be used have Config.MaxConns requests in flight. A gateway answers 503.
	ErrFull = errors.New("all upstream servers are full")
	// ErrResolve says that a name could not be resolved; what it was resolved to before is still used.
	ErrResolve = errors.New("resolve upstream")
	// ErrUnhealthy says that a server answered a check, and wrongly.
	ErrUnhealthy = errors.New("unhealthy")
	// ErrBadBalance is of [ParseBalance].
	ErrBadBalance = errors.New("unknown balance")
)

// FieldError says which field of a Config is out of range, and what would be right.
type FieldError struct {
	// Pool is Config.Name.
	Pool, Field string
	Value       any
	Want        string
}

// Error is "upstream Pool: Field is Value: want Want".
func (e *FieldError) Error() string {
	return fmt.Sprintf("upstream %s: %s is %v: want %s", e.Pool, e.Field, e.Value, e.Want)
}
