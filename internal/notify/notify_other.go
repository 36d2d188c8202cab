//go:build !linux

package notify

import (
	"context"
	"errors"
)

func monotonicUsec() (int64, error) { return 0, errors.ErrUnsupported }

func (s *Service) barrier(context.Context) error {
	return errors.Join(errNoBarrier, errors.ErrUnsupported)
}
