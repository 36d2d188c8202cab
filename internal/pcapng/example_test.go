package pcapng_test

import (
	"bytes"
	"fmt"
	"time"

	"weir/internal/pcapng"
)

// A capture of one dropped packet, of which the first bytes are kept.
func Example() {
	var file bytes.Buffer
	w, err := pcapng.NewWriter(&file, "weir", []pcapng.Interface{{Name: "eth0", SnapLen: 64}})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = w.WritePacket(pcapng.Packet{
		Time: time.Unix(1_700_000_000, 0), Data: make([]byte, 64), Length: 1514,
		Comment: "dropped: over its quota of packets", Unsampled: 999,
	})
	fmt.Println(err, w.Finish(), file.Len()%4)
	// Output: <nil> <nil> 0
}
