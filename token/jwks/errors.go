package jwks

import "errors"

// Why a set was not taken, to be tested for with [errors.Is].
var (
	// ErrUnreachable says that nobody answered in time, or that the file cannot be read.
	ErrUnreachable = errors.New("it cannot be reached")
	// ErrStatus says that the answer was not 200.
	ErrStatus = errors.New("the answer is not 200")
	// ErrRedirect says that it is somewhere else: too often, or not at https://.
	ErrRedirect = errors.New("it is redirected to where it is not taken from: name the URL where it is, of https://")
	// ErrTooLarge says that it has more than [MaxBytes] or [MaxKeys].
	ErrTooLarge = errors.New("it is too large: 1 MiB and 100 keys are taken")
	// ErrMalformed says that it is no JWK set.
	ErrMalformed = errors.New("it is no JWK set: want a JSON object with a list keys")
	// ErrNoKeys says that it has no key that can be used here.
	ErrNoKeys = errors.New("it has no key that can be used")
)

// Result is what came of a fetch.
type Result uint8

// The results.
const (
	// ResultUpdated: the keys are others than before. ResultUnchanged: they are not.
	ResultUpdated Result = iota
	ResultUnchanged
	ResultUnreachable
	ResultStatus
	ResultRedirect
	ResultTooLarge
	ResultMalformed
	ResultNoKeys
	results
)

// String is the result's label value.
func (r Result) String() string {
	return [...]string{"updated", "unchanged", "unreachable", "bad_status", "bad_redirect", "too_large", "malformed", "no_usable_key"}[min(r, results-1)]
}

// failure is the result of an error.
func failure(err error) Result {
	for _, f := range []struct {
		err error
		r   Result
	}{
		{ErrRedirect, ResultRedirect},
		{ErrStatus, ResultStatus},
		{ErrTooLarge, ResultTooLarge},
		{ErrMalformed, ResultMalformed},
		{ErrNoKeys, ResultNoKeys},
	} {
		if errors.Is(err, f.err) {
			return f.r
		}
	}
	return ResultUnreachable
}
