package ratelimit_test

import (
	"fmt"
	"time"

	"weir/ratelimit"
)

func Example() {
	rate, err := ratelimit.ParseRate("2/s")
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := ratelimit.Compile(rate, 3) // three at once
	if err != nil {
		fmt.Println(err)
		return
	}
	var arrival uint64 // one number for each client
	for _, at := range []time.Duration{0, 0, 0, 0, 500 * time.Millisecond, 600 * time.Millisecond} {
		next, ok := ratelimit.GCRA(plan, arrival, uint64(at)*ratelimit.TicksPerNano)
		if ok {
			arrival = next
		}
		fmt.Println(at, ok)
	}
	// Output:
	// 0s true
	// 0s true
	// 0s true
	// 0s false
	// 500ms true
	// 600ms false
}
