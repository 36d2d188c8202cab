package latency

import (
	"errors"
	"fmt"
)

// Errors of this package, to be tested for with [errors.Is]. Each comes wrapped in a sentence
// that says what to do.
var (
	// ErrNotPermitted: the process lacks CAP_BPF, CAP_PERFMON or CAP_NET_ADMIN.
	ErrNotPermitted = errors.New("not permitted")
	// ErrKernel: the kernel lacks what the tracer needs. [HookError] says what.
	ErrKernel = errors.New("kernel lacks a hook")
	// ErrNotGo: the tracer is of Go programs, and a process is none, or its executable says nothing of
	// the functions that it looks at.
	ErrNotGo = errors.New("no Go program")
	// ErrUnknown: there is no tracer of that name.
	ErrUnknown = errors.New("no such tracer")
)

// HookError is a hook that the kernel does not have. It wraps [ErrKernel].
type HookError struct {
	// Tracer and Hook are names; Since is the release of Linux that has all hooks of the tracer.
	Tracer, Hook, Since string
	// Err is what the kernel said.
	Err error
}

func (e *HookError) Error() string {
	return fmt.Sprintf("trace %s: %v: %s: use Linux %s or newer with CONFIG_DEBUG_INFO_BTF: %v", e.Tracer, ErrKernel, e.Hook, e.Since, e.Err)
}

// Unwrap implements the interface of [errors.Is].
func (e *HookError) Unwrap() []error { return []error{ErrKernel, e.Err} }

// FieldError is a field of [Config] that is wrong.
type FieldError struct {
	Field string
	Value any
	Want  string
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("%s is %v: want %s", e.Field, e.Value, e.Want)
}
