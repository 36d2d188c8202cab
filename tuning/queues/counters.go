package queues

import (
	"cmp"
	"path"
	"slices"
)

// fate is where the packets of a counter ended.
type fate int

const (
	beforeXDP fate = iota // no program saw them
	byXDP                 // a program dropped them
	afterXDP              // a program passed them, and the driver lost them
)

// counter is what is known of one counter.
type counter struct {
	driver string // as ethtool -i has it
	name   string // a pattern of path.Match, of which the first that fits holds
	link   bool   // one of the kernel's own, not of the driver's
	fate   fate
	port   bool // lost in the port, before a queue was chosen
}

// counters are those whose meaning is known from the kernel's source. What is not here says
// nothing about overload, or too many things at once: first of all rx_dropped of the kernel, which
// adds the backlog's losses to the driver's, and in virtio_net what XDP dropped.
//
// Generic XDP, on any driver, runs behind the driver: all its losses are before XDP, and those of
// the backlog too when receive packet steering is on. No counter has what it drops.
func counters() []counter {
	return []counter{
		// mlx5: en_stats.c. rx_discards_phy is if_in_discards of the port: its buffer was full.
		// rx_out_of_buffer: the queue had no descriptor. rx_xdp_drop is the sum of its queues'.
		{driver: "mlx5_core", name: "rx_discards_phy", fate: beforeXDP, port: true},
		{driver: "mlx5_core", name: "rx_out_of_buffer", fate: beforeXDP},
		{driver: "mlx5_core", name: "rx_xdp_drop", fate: byXDP},
		// ixgbe: ixgbe_update_stats. rx_missed_errors sums MPC, the packet buffers;
		// rx_no_dma_resources sums QPRDC, queues without a descriptor. XDP has no counter.
		{driver: "ixgbe", name: "rx_missed_errors", fate: beforeXDP, port: true},
		{driver: "ixgbe", name: "rx_no_dma_resources", fate: beforeXDP},
		// i40e: i40e_update_stats. The port's rx_discards, which was called rx_dropped before commit
		// 5337d2949733; since it rx_missed_errors is GLV_RDPC, queues without a descriptor.
		{driver: "i40e", name: "port.rx_discards", fate: beforeXDP, port: true},
		{driver: "i40e", name: "port.rx_dropped", fate: beforeXDP, port: true},
		{driver: "i40e", name: "rx_missed_errors", link: true, fate: beforeXDP},
		// ice: ice_ethtool.c. rx_dropped.nic is the port's rx_discards, and the kernel's
		// rx_missed_errors the same; rx_dropped is the discards of the interface's queues.
		{driver: "ice", name: "rx_dropped.nic", fate: beforeXDP, port: true},
		{driver: "ice", name: "rx_dropped", fate: beforeXDP},
		// ena: ena_ethtool.c. rx_drops is what the device reports with its keep-alive.
		{driver: "ena", name: "rx_drops", fate: beforeXDP},
		{driver: "ena", name: "queue_[0-9]*_rx_xdp_drop", fate: byXDP},
		{driver: "ena", name: "queue_[0-9]*_rx_skb_alloc_fail", fate: afterXDP},
		// virtio_net: drops of the device, where it has VIRTIO_NET_F_DEVICE_STATS;
		// XDP's under the names before and since. rx*_drops has XDP's in it: not used.
		{driver: "virtio_net", name: "rx[0-9]*_hw_drops", fate: beforeXDP},
		{driver: "virtio_net", name: "rx[0-9]*_xdp_drops", fate: byXDP},
		{driver: "virtio_net", name: "rx_queue_[0-9]*_xdp_drops", fate: byXDP},
		// veth: veth_xdp_rcv. drops are for want of memory for a socket buffer, most of them behind
		// the program. The pattern of drops would fit xdp_drops too: it comes after.
		{driver: "veth", name: "rx_queue_[0-9]*_xdp_drops", fate: byXDP},
		{driver: "veth", name: "rx_queue_[0-9]*_drops", fate: afterXDP},
	}
}

// anyDriver are the kernel's own counters, for drivers that show none of the table's losses before
// XDP: see struct rtnl_link_stats64 in linux/if_link.h. Drivers use rx_over_errors and
// rx_fifo_errors interchangeably, so the larger of the two counts.
func anyDriver(link map[string]float64) []Loss {
	fifo := "rx_fifo_errors"
	if link["rx_over_errors"] > link[fifo] {
		fifo = "rx_over_errors"
	}
	var all []Loss
	for _, name := range []string{"rx_missed_errors", fifo} {
		all = append(all, Loss{Counter: name, PerSecond: link[name]})
	}
	return all
}

// blindSpot says which losses before XDP a driver does not tell of, "" if none are known.
func blindSpot(driver string) string {
	switch driver {
	case "veth":
		return "a full queue of a veth is counted at its other end: tx_dropped there"
	case "virtio_net":
		return "what the hypervisor dropped for want of room in the queue is not shown, unless there are counters rx*_hw_drops"
	case "i40e":
		return "older kernels count queues without descriptors in rx_dropped, together with other things"
	case "ena":
		return "what the cloud dropped over the instance's allowance is in pps_allowance_exceeded, mixed with what was only delayed"
	}
	return ""
}

// Loss is one counter's share in what was lost.
type Loss struct {
	// Counter is its name in ethtool -S, or in /sys/class/net/*/statistics.
	Counter   string
	PerSecond float64
	// Port says that the port lost them, before a queue was chosen.
	Port bool
}

// classify finds the losses among rates.
func (r *Rates) classify() {
	table := slices.DeleteFunc(counters(), func(c counter) bool { return c.driver != r.Driver })
	known := false
	add := func(name string, perSecond float64, link bool) {
		i := slices.IndexFunc(table, func(c counter) bool {
			ok, _ := path.Match(c.name, name) // a test matches each pattern
			return ok && c.link == link
		})
		if i < 0 {
			return
		}
		loss := Loss{name, perSecond, table[i].port}
		switch table[i].fate {
		case beforeXDP:
			r.Before, known = append(r.Before, loss), true
		case byXDP:
			r.ByXDP = append(r.ByXDP, loss)
		case afterXDP:
			r.After = append(r.After, loss)
		}
	}
	for name, perSecond := range r.Counters {
		add(name, perSecond, false)
	}
	for name, perSecond := range r.Link {
		add(name, perSecond, true)
	}
	if !known {
		r.Before = anyDriver(r.Link)
	}
	for _, losses := range []*[]Loss{&r.Before, &r.ByXDP, &r.After} {
		*losses = slices.DeleteFunc(*losses, func(l Loss) bool { return l.PerSecond == 0 })
		slices.SortFunc(*losses, func(a, b Loss) int {
			return cmp.Or(cmp.Compare(b.PerSecond, a.PerSecond), cmp.Compare(a.Counter, b.Counter))
		})
	}
}

func sum(losses []Loss) (total float64) {
	for _, l := range losses {
		total += l.PerSecond
	}
	return total
}
