package catalog

import (
	"fmt"

	"weir/tuning/knob"
)

const (
	deferFormula = "2; 100 with an epoll that prefers busy polling"
	flushNanos   = 20_000
	suspendNanos = 20_000_000
	perNAPI      = "6.13"
)

// deferred is how many empty polls there are before interrupts are on again. Who suspends them by epoll wants the timer, and not an
// interrupt, to find the next burst.
func deferred(in Input) int64 {
	if in.BusyPoll {
		return 100
	}
	return 2
}

// instances are of each NAPI instance, where the kernel has that. They are before the files of the device, which the kernel writes to
// all of its instances: going back ends with what each instance had.
func instances() []Setting {
	return []Setting{
		{
			Key: "napi/defer-hard-irqs", Scope: Device, Profiles: []Profile{Edge},
			Formula: deferFormula, Reason: "napi_defer_hard_irqs of each instance, where the kernel has it: the device's file is written to all of them, and going back needs what each had",
			Source: napiDoc, Risk: "as of napi_defer_hard_irqs", Check: "ynl --family netdev --dump napi-get",
			Targets: func(in Input) []Target { return perInstance("defer-hard-irqs", deferred(in), deferred(in)/2, 200)(in) },
		},
		{
			Key: "napi/gro-flush-timeout", Scope: Device, Profiles: []Profile{Edge},
			Formula: "20000 (ns)", Reason: "gro_flush_timeout of each instance, for the same reason",
			Source: napiDoc, Risk: "as of gro_flush_timeout", Check: "ynl --family netdev --dump napi-get",
			Targets: perInstance("gro-flush-timeout", flushNanos, 5000, 50_000),
		},
	}
}

// suspension is behind the lengths of rings: a device whose rings are set often has new instances, without it.
func suspension() []Setting {
	return []Setting{{
		Key: "napi/irq-suspend-timeout", Scope: Device, Profiles: []Profile{Edge},
		Formula: "20000000 (ns) with --busy-poll; else advice",
		Reason: "an epoll that prefers busy polling (EPIOCSPARAMS) and finds events keeps the queue's interrupts off until it finds none: so long at most. " +
			"Without such an epoll it does nothing, and weir's loops are none: for other programs beside it",
		Source: napiDoc + ", IRQ suspension", Risk: "a program that stands for so long has its packets wait; needs one queue for each epoll", Check: "interrupts a second; BusyPollRxPackets in nstat",
		Targets: func(in Input) []Target {
			all := perInstance("irq-suspend-timeout", suspendNanos, suspendNanos/2, 5*suspendNanos)(in)
			if !in.BusyPoll {
				for i := range all {
					all[i].Advice = "weir tune apply --busy-poll, if a program here polls by an epoll with prefer_busy_poll (ioctl EPIOCSPARAMS); else leave it"
				}
				return all
			}
			for _, n := range in.NICs() {
				if field := instanceField(0, "irq-suspend-timeout"); n.Settings[field] == "" { // it is told that there is none
					all = append(all, Target{Knob: knob.Device(n.Name, field), Want: number(suspendNanos), Since: perNAPI})
				}
			}
			return all
		},
	}}
}

func instanceField(i int, name string) string { return fmt.Sprintf("napi-%d/%s", i, name) }

// perInstance is the setting of a field of each NAPI instance of each interface that has it; values from low to high stay.
func perInstance(name string, want, low, high int64) func(Input) []Target {
	return func(in Input) (all []Target) {
		for _, n := range in.NICs() {
			for i := 0; ; i++ {
				field := instanceField(i, name)
				if _, has := n.Settings[field]; !has {
					break
				}
				all = append(all, Target{Knob: knob.Device(n.Name, field), Want: number(want), Accept: within(low, high), Since: perNAPI})
			}
		}
		return all
	}
}
