package catalog

import (
	"fmt"

	"weir/tuning/host"
	"weir/tuning/knob"
)

const (
	// guessBytes is what an idle socket takes of the kernel's memory where it does not tell, measured elsewhere: 3.7 to 4.1 KiB.
	guessBytes = 4 << 10
	// ProcessBytes is what a conn that is idle takes of weir's own memory, measured: bench/results/hold.
	ProcessBytes = 1 << 10
	// heapBytes is the least that a heap is to have beside conns.
	heapBytes = 64 << 20
)

// SocketBytes is what an idle conn takes of the kernel's memory on a host.
func SocketBytes(h *host.Host) (n int64) {
	for _, c := range h.Socket() {
		n += c.Bytes
	}
	if n == 0 {
		return guessBytes
	}
	return n
}

// QueuedPages are those that what a conn has queued takes: each message is in a page with what the kernel notes of it.
func QueuedPages(in Input) int64 {
	return (int64(in.QueuedBytes) + 900 + in.Host.PageBytes - 1) / in.Host.PageBytes
}

// memory is the host's, or the cgroup's if that has less.
func memory(h *host.Host) int64 {
	if limit := h.MemoryLimitBytes; limit > 0 {
		return min(h.MemoryBytes, limit)
	}
	return h.MemoryBytes
}

// SpareBytes is the memory that conns may take: all but a tenth, and the least of a heap.
func SpareBytes(h *host.Host) int64 { return memory(h) - memory(h)/10 - heapBytes }

// advice is what is not weir's to set: the kernel's command line, and what processes hold.
func advice() []Setting {
	return []Setting{
		{
			Key: "thash_entries", Scope: Boot, Profiles: every(),
			Formula: "at least conns, as a power of two", Reason: "buckets of the table of conns: with fewer each packet walks a chain",
			Source: "kernel: Documentation/admin-guide/kernel-parameters.txt", Risk: "16 bytes an entry", Check: "sysctl net.ipv4.tcp_ehash_entries",
			Targets: func(in Input) []Target {
				want := powerOfTwo(int64(in.Conns))
				return one(Target{
					Knob: knob.Sysctl("net.ipv4.tcp_ehash_entries", knob.Number), Want: number(want),
					Accept: func(is string) bool { // below zero: a namespace that shares the host's table
						n, ok := integer(is)
						return ok && max(n, -n) >= want
					},
					Advice: fmt.Sprintf("thash_entries=%d on the kernel's command line", want),
				})
			},
		},
		{
			Key: "isolcpus", Scope: Boot, Profiles: []Profile{Edge},
			Formula: "none, below 8 CPUs; above, CPUs that loops are pinned to", Reason: "nothing else runs there",
			Source: "kernel: Documentation/admin-guide/kernel-parameters.txt", Risk: "a wrong list halves what the host can do: measure it",
			Check: "tracer runq",
			Targets: func(in Input) []Target {
				if len(in.Host.CPUs) < 8 {
					return nil
				}
				return one(Target{
					Knob: knob.Knob{Name: "isolated CPUs", Path: "/sys/devices/system/cpu/isolated", Form: knob.List}, Want: "only if loops are pinned",
					Accept: func(is string) bool { return knob.List.Show(is) != "" },
					Advice: "isolcpus=LIST nohz_full=LIST rcu_nocbs=LIST on the kernel's command line, with the same CPUs for edge.workers",
				})
			},
		},
		{
			Key: "cpu_dma_latency", Scope: Process, Profiles: servers(),
			Formula: "10 to 50 us, held by a process", Reason: "from a deep sleep a CPU needs 50 to 200 us to wake",
			Source: "kernel: Documentation/admin-guide/pm/cpuidle.rst", Risk: "power; 0 takes turbo away too", Check: "cpupower idle-info",
			Targets: func(in Input) []Target {
				const current = "/sys/devices/system/cpu/cpuidle/current_driver"
				if driver, ok := in.Host.Text(current); !ok || driver == "none" || driver == "haltpoll" {
					return nil
				}
				return one(Target{
					Knob: knob.Knob{Name: "driver of idle CPUs", Path: current, Form: knob.Word}, Want: "at most 50 us to wake",
					Advice: "force_latency=cstate.id:1|50 in a tuned profile, or a process that holds /dev/cpu_dma_latency open at 50",
				})
			},
		},
		{
			Key: "kernel.io_uring_disabled", Scope: Global, Profiles: every(),
			Formula: "0, for programs that use io_uring; weir does not need it", Reason: "2 keeps everybody from it, 1 all but a group",
			Source: kernelDoc, Risk: "io_uring has had holes: leave it as it is unless something needs it", Check: "sysctl kernel.io_uring_disabled",
			Targets: func(in Input) []Target {
				if !in.Host.Exists("/proc/sys/kernel/io_uring_disabled") {
					return nil // it came with Linux 6.6, and before it there is no saying
				}
				return one(Target{
					Knob: knob.Sysctl("kernel.io_uring_disabled", knob.Number), Want: "0",
					Advice: "sysctl -w kernel.io_uring_disabled=0, if something on this host needs io_uring",
				})
			},
		},
	}
}

// runtimes are of the Go runtime, for the environment of processes.
func runtimes() []Setting {
	return []Setting{
		{
			Key: "GOMEMLIMIT", Scope: Process, Profiles: servers(),
			Formula: "the memory, or the cgroup's limit, less conns * what a socket takes (about 4 KiB), less the max of tcp_mem that conns need, less a tenth",
			Reason:  "a cgroup is charged for sockets and what is queued in them: the heap has what is left",
			Source:  "Go: runtime/debug.SetMemoryLimit; kernel: cgroup-v2.rst", Risk: "too low, and the collector never rests",
			Check: "go_gc_duration_seconds; sock and slab in memory.stat", Targets: memoryLimit,
		},
		{
			Key: "GOGC", Scope: Process, Profiles: servers(),
			Formula: "200 to 400, with GOMEMLIMIT", Reason: "half as many collections, as long as there is memory",
			Source: "Go: runtime package, environment variables", Risk: "a larger heap", Check: "go_gc_duration_seconds",
			Targets: environment("GOGC", func(Input) string { return "200" }),
		},
		{
			Key: "GOMAXPROCS", Scope: Process, Profiles: servers(),
			Formula: "as many as CPUs, less a quarter from 8 CPUs on, for interrupts", Reason: "loops and softirq do not take turns on one CPU",
			Source: "Go: runtime package, environment variables", Risk: "idle CPUs, if there are few packets", Check: "tracer runq",
			Targets: environment("GOMAXPROCS", func(in Input) string {
				n := len(in.Host.CPUs)
				if n >= 8 {
					n -= n / 4
				}
				return number(int64(n))
			}),
		},
	}
}

// memoryLimit is what the heap of one process may have, if it is alone on the host.
func memoryLimit(in Input) []Target {
	each := SocketBytes(in.Host) + QueuedPages(in)*in.Host.PageBytes
	left := SpareBytes(in.Host) + heapBytes - int64(in.Conns)*each
	if left < heapBytes {
		return one(Target{
			Knob: knob.Knob{Name: "GOMEMLIMIT", Form: knob.Word}, Want: "none fits",
			Advice: fmt.Sprintf("conns and what they queue take all of the memory: no more than %d conns fit beside a heap of 64 MiB", max(SpareBytes(in.Host)/each, 0)),
		})
	}
	return environment("GOMEMLIMIT", func(Input) string { return fmt.Sprintf("%dMiB", left>>20) })(in)
}

// environment is a variable for the process's unit.
func environment(name string, value func(Input) string) func(Input) []Target {
	return func(in Input) []Target {
		want := value(in)
		return one(Target{
			Knob: knob.Knob{Name: name, Form: knob.Word}, Want: want,
			Advice: fmt.Sprintf("Environment=%s=%s in the unit", name, want),
		})
	}
}
