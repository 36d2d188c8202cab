package replay_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"weir/gateway/policy"
	"weir/gateway/replay"
	"weir/ratelimit"
)

func ExampleRun() {
	const log = `192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 512
192.0.2.1 - - [02/Jan/2026:03:04:06 +0000] "GET / HTTP/1.1" 200 512
192.0.2.2 - - [02/Jan/2026:03:04:07 +0000] "GET / HTTP/1.1" 200 512
`
	cfg := replay.Config{
		Candidate: policy.Policy{Quota: ratelimit.Quota{Name: "strict", Rate: ratelimit.Rate{Count: 1, Per: time.Minute}}},
		Window:    10 * time.Second,
	}
	report, err := replay.Run(context.Background(), cfg, replay.Source{Name: "access.log", Reader: strings.NewReader(log)})
	if err != nil {
		panic(err)
	}
	for _, c := range report.Top {
		fmt.Printf("%s: %d of %d, first at %s\n", c.Client, c.Limited, c.Requests, c.First.Format(time.TimeOnly))
	}
	// Output: 192.0.2.1: 1 of 2, first at 03:04:06
}
