package workers

import (
	"time"

	"weir/edge/loop"
)

// MaxWorkers bounds the processes of a group.
const MaxWorkers = 64

// Config says how many there are.
type Config struct {
	// Workers is the number of processes that serve the edge's port, 0 to 64; 0: the one that was
	// started serves it itself. Default 0.
	Workers int
}

// Validate reports what is out of range; nil if nothing is.
func (c Config) Validate() error {
	if c.Workers < 0 || c.Workers > MaxWorkers {
		return &loop.FieldError{Field: "Workers", Value: c.Workers, Want: "0 to 64"}
	}
	return nil
}

// Times of a group.
const (
	// backoffFirst and backoffLast are between which the pause grows before a worker is started that
	// ended soon after its start; one that served for backoffLast begins anew.
	backoffFirst = 100 * time.Millisecond
	backoffLast  = 5 * time.Second
	// answerTimeout is how long a worker's answer is waited for.
	answerTimeout = time.Second
	// startTimeout is how long a worker may take until it serves.
	startTimeout = time.Minute
	// maxAsked bounds the questions that a worker has not answered; past it it is asked nothing.
	maxAsked = 32
)

// Share is a worker's part of a limit that holds for all, rounded up.
func Share[T int | uint64](limit T, workers int) T {
	n := T(max(workers, 1)) //nolint:gosec // 1 to 64
	return (limit + n - 1) / n
}
