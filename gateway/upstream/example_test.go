package upstream_test

import (
	"errors"
	"fmt"
	"time"

	"weir/gateway/upstream"
)

func Example() {
	now := time.Now()
	pool, err := upstream.New(upstream.Config{
		Name:     "api",
		Servers:  []upstream.ServerConfig{{Address: "192.0.2.1:8080"}, {Address: "192.0.2.2:8080"}},
		MaxConns: 1,
	}, upstream.Env{}, now)
	if err != nil {
		fmt.Println(err)
		return
	}
	var tried upstream.Tried
	first, _ := pool.Pick(now, 0, &tried)
	first.Done(now, upstream.ConnectFailed, 0)
	if pool.MayRetry(now) {
		second, _ := pool.Pick(now, 0, &tried)
		fmt.Println("elsewhere:", second != first)
		// A second request meets the other one, and a third nobody.
		_, _ = pool.Pick(now, 0, nil)
		_, err = pool.Pick(now, 0, nil)
		fmt.Println(errors.Is(err, upstream.ErrFull))
		second.Done(now, upstream.OutcomeOf(200), 3*time.Millisecond)
	}
	// Output:
	// elsewhere: true
	// true
}
