package kernel_test

import (
	"fmt"
	"time"

	"weir/bpf/xdp"
	"weir/ratelimit"
	"weir/ratelimit/kernel"
)

func ExampleCompile() {
	class, err := kernel.Compile(kernel.Policy{
		Client: ratelimit.Rate{Count: 1000, Per: time.Second}, Burst: 50,
		Total: ratelimit.Rate{Count: 100_000, Per: time.Second},
		Mode:  xdp.ModeEnforce,
	})
	fmt.Println(class.Interval/ratelimit.TicksPerNano, "ns between two packets of a client,", err)
	// Output:
	// 1000000 ns between two packets of a client, <nil>
}
