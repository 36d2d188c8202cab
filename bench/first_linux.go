package bench

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// goFirst has all threads of the processes, and those that they start, run before any of other processes
// (SCHED_RR, sched(7)). It reports whether it may.
func goFirst(pids []int) bool {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}
	for _, pid := range pids {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return false
		}
		for _, t := range threads {
			tid, err := strconv.Atoi(t.Name())
			if err == nil {
				err = unix.SchedSetAttr(tid, &attr, 0)
			}
			if err != nil {
				return false
			}
		}
	}
	return true
}
