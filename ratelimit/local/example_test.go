package local_test

import (
	"fmt"
	"time"

	"weir/ratelimit"
	"weir/ratelimit/local"
)

func Example() {
	store, err := local.New(local.Config{Clients: 1024})
	if err != nil {
		fmt.Println(err)
		return
	}
	perMinute, err := ratelimit.Quota{Name: "per-minute", Rate: ratelimit.Rate{Count: 100, Per: time.Minute}}.Compile()
	if err != nil {
		fmt.Println(err)
		return
	}
	logins, err := ratelimit.Quota{Name: "logins", Algorithm: ratelimit.AlgorithmLog, Rate: ratelimit.Rate{Count: 1, Per: time.Hour}}.Compile()
	if err != nil {
		fmt.Println(err)
		return
	}
	checks := []ratelimit.Check{
		{Limit: perMinute, Key: []byte("203.0.113.7"), Cost: 1},
		{Limit: logins, Key: []byte("alice"), Cost: 1},
	}
	var out [2]ratelimit.Decision
	for range 2 { // the second is charged to neither
		allowed := store.Take(0, checks, out[:])
		fmt.Println(allowed, out[0].Remaining, out[1].RetryAfter)
	}
	// Output:
	// true 99 0s
	// false 98 1h0m0s
}
