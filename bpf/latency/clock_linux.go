package latency

import (
	"time"

	"golang.org/x/sys/unix"
)

// tickOfKernel is how long a tick is (1/HZ): the resolution of the kernel's coarse clock. 0: it does not say.
func tickOfKernel() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
