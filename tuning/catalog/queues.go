package catalog

import (
	"fmt"

	"weir/tuning/host"
	"weir/tuning/knob"
)

const (
	netSysctl = "kernel: Documentation/admin-guide/sysctl/net.rst"
	scaling   = "kernel: Documentation/networking/scaling.rst"
	napiDoc   = "kernel: Documentation/networking/napi.rst"
)

// steered reports whether packets of an interface have to be spread over CPUs by software: its queues do not do it.
func steered(in Input, n host.NIC) bool { return n.RXQueues > 0 && n.RXQueues < len(in.Host.CPUs) }

// anySteered reports whether those of any are.
func anySteered(in Input) bool {
	for _, n := range in.NICs() {
		if steered(in, n) {
			return true
		}
	}
	return false
}

// flows is the size of the table of flows: a power of two, one for each conn, at most a million.
func flows(in Input) int64 { return powerOfTwo(min(max(int64(in.Conns), 4096), 1<<20)) }

// softirq are of receiving, on the whole host.
func softirq() []Setting {
	return []Setting{
		{
			Key: "net.core.netdev_budget", Scope: Global, Profiles: every(),
			Formula: "at least 600", Reason: "packets that a round of receiving takes before others get the CPU",
			Source: netSysctl, Risk: "event loops on that CPU wait longer", Check: "column 3 of /proc/net/softnet_stat",
			Targets: atLeast("net.core.netdev_budget", 100_000, fixed(600)),
		},
		{
			Key: "net.core.netdev_budget_usecs", Scope: Global, Profiles: every(),
			Formula: "4000 to 8000", Reason: "the same in microseconds",
			Source: netSysctl, Risk: "event loops on that CPU wait longer", Check: "column 3 of /proc/net/softnet_stat; tracer softirq",
			Targets: exact("net.core.netdev_budget_usecs", 4000, 4000, 8000),
		},
		{
			Key: "net.core.netdev_max_backlog", Scope: Global, Profiles: every(),
			Formula: "at least 16384, where packets are spread by software", Reason: "packets that wait for the CPU they were steered to; past it they are lost",
			Source: netSysctl, Risk: "memory, and delay, in a flood", Check: "column 2 of /proc/net/softnet_stat",
			Targets: func(in Input) []Target {
				if !anySteered(in) {
					return nil
				}
				return atLeast("net.core.netdev_max_backlog", mostBacklog, fixed(16384))(in)
			},
		},
		{
			Key: "net.core.rps_sock_flow_entries", Scope: Global, Profiles: servers(),
			Formula: "at least conns, as a power of two, within 4096 to 1048576, where packets are spread by software",
			Reason:  "which CPU reads a flow's socket, so that its packets are taken there",
			Source:  scaling, Risk: "4 bytes an entry; flows that share one follow each other", Check: "column 10 of /proc/net/softnet_stat",
			Targets: func(in Input) []Target {
				if !anySteered(in) {
					return nil
				}
				want := flows(in)
				return one(Target{Knob: knob.Sysctl("net.core.rps_sock_flow_entries", knob.Rounded), Want: number(want), Accept: within(want, 1<<29)})
			},
		},
		{
			Key: "net.core.busy_poll", Scope: Global, Profiles: every(),
			Formula: "0, which is the default", Reason: "an epoll with sockets of several queues spins in vain",
			Source: netSysctl, Risk: "none", Check: "BusyPollRxPackets in nstat", Targets: exact("net.core.busy_poll", 0, 0, 0),
		},
		{
			Key: "net.core.busy_read", Scope: Global, Profiles: every(),
			Formula: "0, which is the default", Reason: "each read of a socket without data would spin",
			Source: netSysctl, Risk: "none", Check: "BusyPollRxPackets in nstat", Targets: exact("net.core.busy_read", 0, 0, 0),
		},
	}
}

// queues are of the queues of each interface.
func queues() []Setting {
	return []Setting{
		{
			Key: "smp_affinity_list", Scope: Device, Profiles: every(),
			Formula: "interrupt of queue i to CPU i, round and round, for more than one queue",
			Reason:  "a queue's packets stay in one CPU's cache, and none has two queues while another has none",
			Source:  "kernel: Documentation/core-api/irq/irq-affinity.rst", Risk: "that CPU is full in a flood before others are: drop in XDP",
			Check: "/proc/interrupts, twice; effective_affinity_list beside it", Targets: affinities,
		},
		{
			Key: "rps_cpus", Scope: Device, Profiles: every(),
			Formula: "queue i to CPUs i, i + queues and so on, if there are fewer queues than CPUs; else none", Reason: "spreads the work of few queues; beside enough of them it is an interrupt a packet for nothing",
			Source: scaling, Risk: "an interrupt between CPUs a packet", Check: "column 10 of /proc/net/softnet_stat",
			Targets: perQueue("rx", "rps_cpus", knob.Mask, func(in Input, n host.NIC, queue int) string {
				if !steered(in, n) {
					return "0"
				}
				return share(in, n.RXQueues, queue)
			}),
		},
		{
			Key: "rps_flow_cnt", Scope: Device, Profiles: servers(),
			Formula: "rps_sock_flow_entries / queues, if there are fewer queues than CPUs; else as it is",
			Reason:  "the queue's share of the table of flows", Source: scaling, Risk: "4 bytes an entry", Check: "column 10 of /proc/net/softnet_stat",
			Targets: func(in Input) (all []Target) {
				for _, n := range in.NICs() {
					for q := range n.RXQueues {
						if !steered(in, n) {
							break
						}
						want := powerOfTwo(flows(in) / int64(n.RXQueues))
						all = append(all, Target{Knob: queueFile(n.Name, "rx", q, "rps_flow_cnt", knob.Rounded), Want: number(want), Accept: within(want, 1<<29)})
					}
				}
				return all
			},
		},
		{
			Key: "xps_cpus", Scope: Device, Profiles: every(),
			Formula: "queue i from CPUs i, i + queues and so on, for more than one queue",
			Reason:  "who sends from a CPU takes a queue that no other one waits for", Source: scaling,
			Risk: "none that is known; drivers with a map of their own ignore it", Check: "tx counters of each queue in ethtool -S",
			Targets: perQueue("tx", "xps_cpus", knob.Mask, func(in Input, n host.NIC, queue int) string {
				if n.TXQueues < 2 {
					return "" // the kernel has no such file then
				}
				return share(in, n.TXQueues, queue)
			}),
		},
		{
			Key: "napi_defer_hard_irqs", Scope: Device, Profiles: []Profile{Edge},
			Formula: deferFormula, Reason: "with gro_flush_timeout: a queue that was busy is polled by a timer before interrupts are on again",
			Source: napiDoc, Risk: "CPU time of two empty polls after each burst", Check: "interrupts a second, tracer softirq",
			Targets: func(in Input) []Target { return perNIC("napi_defer_hard_irqs", deferred(in), deferred(in)/2, 200)(in) },
		},
		{
			Key: "gro_flush_timeout", Scope: Device, Profiles: []Profile{Edge},
			Formula: "20000 (ns)", Reason: "so long a packet may wait for the next poll in place of an interrupt",
			Source: napiDoc, Risk: "20 us more delay for what comes alone behind a burst", Check: "interrupts a second, tracer read",
			Targets: perNIC("gro_flush_timeout", 20000, 5000, 50000),
		},
		{
			Key: "threaded", Scope: Device, Profiles: every(),
			Formula: "0, which is the default", Reason: "polling in a thread is one switch more a burst: for hosts that share CPUs with noisy others",
			Source: napiDoc, Risk: "none", Check: "ps -e | grep napi/", Targets: perNIC("threaded", 0, 0, 0),
		},
	}
}

// share is the mask of every so many CPUs, those of one of so many queues: the CPU of its interrupt is one of them.
func share(in Input, queues, queue int) string {
	var cpus []int
	for i, cpu := range in.Host.CPUs {
		if i%queues == queue {
			cpus = append(cpus, cpu)
		}
	}
	return host.FormatMask(cpus)
}

// affinities gives each queue's interrupt a CPU.
func affinities(in Input) (all []Target) {
	for _, n := range in.NICs() {
		if n.RXQueues < 2 && n.TXQueues < 2 {
			continue
		}
		for _, irq := range n.IRQs {
			t := Target{Knob: knob.Affinity(irq.Number), Want: number(int64(in.Host.CPUs[irq.Queue%len(in.Host.CPUs)]))}
			if in.Host.Balancer {
				t.Refuse = "irqbalance runs, and would set it again: systemctl disable --now irqbalance, or ban these interrupts (IRQBALANCE_ARGS=--banirq=" + number(int64(irq.Number)) + ")"
			}
			all = append(all, t)
		}
	}
	return all
}

// queueFile is the knob of a file of an interface's queue.
func queueFile(nic, direction string, queue int, name string, form knob.Form) knob.Knob {
	k := knob.File(fmt.Sprintf("/sys/class/net/%s/queues/%s-%d/%s", nic, direction, queue, name), form)
	k.Namespaced = true
	return k
}

// perQueue is the setting of a file of each queue; value says "" for a queue that has none.
func perQueue(direction, name string, form knob.Form, value func(Input, host.NIC, int) string) func(Input) []Target {
	return func(in Input) (all []Target) {
		for _, n := range in.NICs() {
			count := n.RXQueues
			if direction == "tx" {
				count = n.TXQueues
			}
			for q := range count {
				if want := value(in, n, q); want != "" {
					all = append(all, Target{Knob: queueFile(n.Name, direction, q, name, form), Want: want})
				}
			}
		}
		return all
	}
}

// perNIC is the setting of a file of each interface, of which values from low to high stay.
func perNIC(name string, want, low, high int64) func(Input) []Target {
	return func(in Input) (all []Target) {
		for _, n := range in.NICs() {
			k := knob.File("/sys/class/net/"+n.Name+"/"+name, knob.Number)
			k.Namespaced = true
			all = append(all, Target{Knob: k, Want: number(want), Accept: within(low, high)})
		}
		return all
	}
}
