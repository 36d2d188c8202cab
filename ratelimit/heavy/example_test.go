package heavy_test

import (
	"fmt"
	"time"

	"weir/ratelimit/heavy"
)

func ExampleTop() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	top, err := heavy.New(heavy.Config{}, now)
	if err != nil {
		panic(err)
	}
	for range 3 {
		top.Add(now, []byte("203.0.113.7"), heavy.Use{Bytes: 1000, Limited: 1})
	}
	top.Add(now, []byte("198.51.100.1"), heavy.Use{Bytes: 9000})
	for _, c := range top.Top(now, heavy.ByBytes, 10).Clients {
		fmt.Printf("%s %d bytes, %d of %d limited\n", c.Name, c.Count, c.Limited, c.Requests)
	}
	// Output:
	// 198.51.100.1 9000 bytes, 0 of 1 limited
	// 203.0.113.7 3000 bytes, 3 of 3 limited
}
