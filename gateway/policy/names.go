package policy

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// nameOf is the i-th name.
func nameOf[T ~uint8](names []string, i T) string {
	if int(i) < len(names) {
		return names[i]
	}
	return fmt.Sprintf("unknown (%d)", i)
}

// parseName is the place of a name.
func parseName[T ~uint8](names []string, text string) (T, error) {
	for i, name := range names {
		if text == name {
			return T(i), nil //nolint:gosec // there are few names
		}
	}
	return 0, fmt.Errorf("is %q: want %s", text, strings.Join(names, ", "))
}

// SumKey is what of an API key is kept.
func SumKey(key string) [32]byte { return sha256.Sum256([]byte(key)) }
