package tuning

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ClockSynchronized reports whether something keeps the host's clock right, by adjtimex(2).
func ClockSynchronized() (bool, error) {
	state, err := unix.Adjtimex(&unix.Timex{})
	if err != nil {
		return false, fmt.Errorf("ask the kernel about its clock: %w", err)
	}
	return state != unix.TIME_ERROR, nil
}
