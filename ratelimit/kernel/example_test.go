package kernel_test

import (
	"fmt"
	"time"

	"weir/ratelimit"
	"weir/ratelimit/kernel"
)

func ExampleCompile() {
	policy, err := kernel.Compile(kernel.Policy{Classes: []kernel.Class{{
		Name:     kernel.Default,
		Client:   kernel.Quotas{Packets: ratelimit.Rate{Count: 1000, Per: time.Second}, PacketBurst: 50},
		Unproved: kernel.Budget{Packets: ratelimit.Rate{Count: 100_000, Per: time.Second}},
	}}})
	fmt.Println(policy.Classes[0].Client.Packets.Interval/ratelimit.TicksPerNano, "ns between two packets of a client,", err)
	// Output:
	// 1000000 ns between two packets of a client, <nil>
}
