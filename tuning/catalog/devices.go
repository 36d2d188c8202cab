package catalog

import (
	"fmt"
	"strconv"

	"weir/tuning/ethtool"
	"weir/tuning/host"
	"weir/tuning/knob"
)

const ethtoolDoc = "kernel: Documentation/networking/ethtool-netlink.rst"

// devices are of what ethtool sets. A device that has no such field is left alone.
func devices() []Setting {
	return []Setting{
		feature("rx-gro", true, "a burst of a conn's packets goes through the stack as one", "packets wait for the end of a poll; XDP on virtio and veth may switch it off"),
		feature("tx-tcp-segmentation", true, "what is larger than a packet is cut by the device", "none"),
		feature("tx-generic-segmentation", true, "the same by the kernel, as late as can be", "none"),
		feature("rx-lro", false, "merges packets so that they cannot be forwarded as they were, and keeps XDP away", "more packets, where GRO is off too"),
		feature("rx-gro-list", false, "is for hosts that forward, and makes each conn's reading dearer", "none"),
		{
			Key: "coalesce/adaptive-rx", Scope: Device, Profiles: every(),
			Formula: "1, where the device has it", Reason: "few interrupts under load and short waits without",
			Source: ethtoolDoc, Risk: "the delay follows the load", Check: "interrupts a second; ethtool -c",
			Targets: eachField("coalesce/adaptive-rx", func(host.NIC) Target { return Target{Want: "1"} }),
		},
		{
			Key: "coalesce/rx-usecs", Scope: Device, Profiles: every(),
			Formula: "16; 8 to 50 stay; only where adaptive-rx is not there", Reason: "an interrupt for what came within so many microseconds",
			Source: ethtoolDoc, Risk: "as much delay", Check: "interrupts a second; ethtool -c",
			Targets: func(in Input) (all []Target) {
				for _, n := range in.NICs() {
					_, adapts := n.Settings["coalesce/adaptive-rx"]
					if _, has := n.Settings["coalesce/rx-usecs"]; has && !adapts && n.Driver != "virtio_net" {
						all = append(all, Target{Knob: knob.Device(n.Name, "coalesce/rx-usecs"), Want: "16", Accept: within(8, 50)})
					}
				}
				return all
			},
		},
		ring("rx", "packets that come while the CPU is elsewhere"),
		ring("tx", "packets that leave in one burst"),
		{
			Key: "channels/combined", Scope: Device, Profiles: every(),
			Formula: "as many as CPUs, or as the device has", Reason: "each CPU receives its part without software that spreads",
			Source: ethtoolDoc, Risk: "the link may go down for a moment, and queues and interrupts are others afterwards: so weir leaves it to you, and plans anew",
			Check: "ethtool -l",
			Targets: eachField("channels/combined", func(host.NIC) Target { return Target{} }, func(in Input, n host.NIC, t *Target) bool {
				most, err := strconv.Atoi(n.Settings["channels/combined-max"])
				want := int64(min(most, len(in.Host.CPUs)))
				t.Want, t.Accept = number(want), within(want, mostInt32)
				t.Advice = fmt.Sprintf("ethtool -L %s combined %d, then weir tune plan again", n.Name, want)
				return err == nil && most > 0
			}),
		},
		{
			Key: "rss/table", Scope: Device, Profiles: every(),
			Formula: "the same share for each queue", Reason: "the device gives packets to queues by it: a queue without a share idles, one with two is full while others are not",
			Source: scaling, Risk: "queues that were left out on purpose, as for AF_XDP, get packets too", Check: "ethtool -x; rx counters of each queue in ethtool -S",
			Targets: eachField("rss/table", func(host.NIC) Target { return Target{} }, spread),
		},
		{
			Key: "rss/key", Scope: Device, Profiles: servers(),
			Formula: "one that is not published", Reason: "who knows the key sends all packets of a flood to one queue: drivers begin with a key that is in Microsoft's specification, or with one of their own",
			Source: scaling, Risk: "conns move to other queues once", Check: "ethtool -x",
			Targets: eachField("rss/key", func(n host.NIC) Target {
				return Target{
					Want:   "own",
					Advice: "ethtool -X " + n.Name + " hkey $(od -An -v -tx1 -N40 /dev/urandom | tr -s ' \\n' ':' | sed 's/^://; s/:$//')",
				}
			}),
		},
	}
}

// spread completes a target with the table that gives each queue the same share.
func spread(in Input, n host.NIC, t *Target) bool {
	table, err := ethtool.ParseTable(n.Settings["rss/table"])
	queues := n.RXQueues
	if combined, err := strconv.Atoi(n.Settings["channels/combined"]); err == nil && combined > 0 {
		queues = combined
	}
	if err != nil || queues < 2 || queues > len(table) {
		return false
	}
	t.Want = ethtool.FormatTable(ethtool.EvenTable(len(table), queues))
	t.Accept = func(is string) bool {
		table, err := ethtool.ParseTable(is)
		return err == nil && ethtool.Even(table, queues)
	}
	if !in.Host.Since(6, 17) { // the order by netlink came with it
		t.Advice = fmt.Sprintf("ethtool -X %s equal %d", n.Name, queues)
	}
	return true
}

// eachField is a setting of each device that has a field. More completes the target, or says that there is none.
func eachField(field string, base func(host.NIC) Target, more ...func(Input, host.NIC, *Target) bool) func(Input) []Target {
	return func(in Input) (all []Target) {
		for _, n := range in.NICs() {
			if _, has := n.Settings[field]; !has {
				continue
			}
			t := base(n)
			t.Knob = knob.Device(n.Name, field)
			wanted := true
			for _, f := range more {
				wanted = wanted && f(in, n, &t)
			}
			if wanted {
				all = append(all, t)
			}
		}
		return all
	}
}

// feature is the setting of a device's feature, where it can be switched.
func feature(name string, on bool, reason, risk string) Setting {
	want := "off"
	if on {
		want = "on"
	}
	return Setting{
		Key: "features/" + name, Scope: Device, Profiles: every(),
		Formula: want + ", where it can be switched", Reason: reason, Source: ethtoolDoc, Risk: risk, Check: "ethtool -k",
		Targets: eachField("features/"+name, func(host.NIC) Target { return Target{Want: want} }),
	}
}

// ring is the setting of the length of a device's rings.
func ring(direction, reason string) Setting {
	field := "rings/" + direction
	return Setting{
		Key: field, Scope: Device, Profiles: every(),
		Formula: "at least 1024, or what the device has", Reason: reason,
		Source: ethtoolDoc, Risk: "most devices go down for a moment when it is set; longer ones fall out of the cache", Check: "rx_missed_errors in ip -s -s link",
		Targets: eachField(field, func(host.NIC) Target { return Target{} }, func(_ Input, n host.NIC, t *Target) bool {
			most, err := strconv.ParseInt(n.Settings[field+"-max"], 10, 64)
			want := min(most, 1024)
			t.Want, t.Accept = number(want), within(want, mostInt32)
			return err == nil && most > 0
		}),
	}
}
