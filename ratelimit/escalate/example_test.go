package escalate_test

import (
	"fmt"
	"time"

	"weir/ratelimit/escalate"
)

func Example() {
	table, err := escalate.New(escalate.Config{Threshold: 3, Window: time.Second, Hold: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := uint64(time.Hour) // of a clock that does not go back
	for range 3 {
		if until, escalated := table.Refused(now, []byte("192.0.2.7"), "api"); escalated {
			fmt.Println("cut for", time.Duration(until-now)) //nolint:gosec // positive
		}
	}
	// Output:
	// cut for 1m0s
}
