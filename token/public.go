package token

import "errors"

// Public is the one of this package's errors that an error of [Verifier.Verify] wraps, which a client may be told; nil if it is
// no such error.
func Public(err error) error {
	for _, known := range []error{ErrMalformed, ErrForged, ErrExpired, ErrNotYet, ErrWrongIssuer, ErrWrongAudience, ErrIncomplete} {
		if errors.Is(err, known) {
			return known
		}
	}
	return nil
}
