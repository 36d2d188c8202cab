package queues_test

import (
	"fmt"
	"time"

	"weir/tuning/queues"
)

// Two samples a second apart, and what XDP counted between them.
func Example() {
	at := time.Unix(1_700_000_000, 0)
	before := queues.Sample{
		At: at, Interface: "eth0", Index: 2, Driver: "ixgbe",
		Counters: map[string]uint64{"rx_no_dma_resources": 1000},
	}
	after := before
	after.At = at.Add(time.Second)
	after.Counters = map[string]uint64{"rx_no_dma_resources": 501_000}
	f := queues.Verdict(queues.Diff(before, after), queues.XDPCounts{Seen: 2_100_000, Dropped: 2_000_000})
	fmt.Println(f.State)
	fmt.Println(f.Text)
	// Output:
	// queue_overflows
	// the queue is the bottleneck: eth0 lost 500,000 packets/s before XDP could see them (rx_no_dma_resources), while XDP dropped 2,000,000 of the 2,100,000 packets/s it saw on eth0; spread over more RX queues (ethtool -L eth0 combined N), give them room (ethtool -G eth0 rx N), or ask upstream to filter
}
