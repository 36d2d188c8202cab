//go:build !unix

package bus

import (
	"errors"
	"fmt"
	"os"
)

func lockFile(path string) (*os.File, error) {
	return nil, fmt.Errorf("flock %s: %w", path, errors.ErrUnsupported)
}
