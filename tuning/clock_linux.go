package tuning

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// ReadClock asks the kernel how right the host's clock is, by adjtimex(2).
func ReadClock() (Clock, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return Clock{}, fmt.Errorf("ask the kernel about its clock: %w", err)
	}
	return Clock{Synchronized: state != unix.TIME_ERROR, MaxError: time.Duration(t.Maxerror) * time.Microsecond}, nil
}
