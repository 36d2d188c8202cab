package queues

import (
	"encoding/binary"
	"fmt"
	"syscall"
)

// iflaStats64 is an attribute of a link, see linux/if_link.h.
const iflaStats64 = 23

// stats64 are the positions of counters in struct rtnl_link_stats64, in 64-bit words.
func stats64() map[string]int {
	return map[string]int{
		"rx_packets": 0, "rx_bytes": 2, "rx_errors": 4, "rx_dropped": 6, "tx_dropped": 7,
		"rx_over_errors": 11, "rx_fifo_errors": 14, "rx_missed_errors": 15,
	}
}

// linkOf asks rtnetlink, in the namespace of the calling thread.
func linkOf(iface string) (int, map[string]uint64, error) {
	dump, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	if err != nil {
		return 0, nil, fmt.Errorf("list interfaces: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(dump)
	if err != nil {
		return 0, nil, fmt.Errorf("list interfaces: %w", err)
	}
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != syscall.RTM_NEWLINK || len(m.Data) < syscall.SizeofIfInfomsg {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return 0, nil, fmt.Errorf("list interfaces: %w", err)
		}
		found := false
		var stats []byte
		for _, a := range attrs {
			switch a.Attr.Type {
			case syscall.IFLA_IFNAME:
				found = string(a.Value) == iface+"\x00"
			case iflaStats64:
				stats = a.Value
			}
		}
		if !found {
			continue
		}
		counters := map[string]uint64{}
		for name, word := range stats64() {
			if at := 8 * word; at+8 <= len(stats) {
				counters[name] = binary.NativeEndian.Uint64(stats[at:])
			}
		}
		// struct ifinfomsg: the index is its second 32 bits.
		return int(binary.NativeEndian.Uint32(m.Data[4:])), counters, nil
	}
	return 0, nil, fmt.Errorf("there is no such interface in this network namespace: take one of: ip link: %w", syscall.ENODEV)
}
