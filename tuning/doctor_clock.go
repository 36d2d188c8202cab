package tuning

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Clock is how right a host's clock is, as the kernel has it.
type Clock struct {
	// Synchronized says that something keeps it right.
	Synchronized bool
	// MaxError is how far off it is at most, by who keeps it right.
	MaxError time.Duration
}

const clocksourceDir = "/sys/devices/system/clocksource/clocksource0/"

// fastClocks are the sources that a process reads by itself, the best first; slow are others, with what a reading costs.
func fastClocks() []string {
	return []string{"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "riscv_clocksource"}
}

func slowClocks() map[string]string {
	return map[string]string{
		"hpet":                   "a reading goes to a chip beside the CPU, of which there is one for all of them: a microsecond, one at a time",
		"acpi_pm":                "a reading goes to a chip beside the CPU by a port: microseconds",
		"jiffies":                "it steps by a tick of 1 to 10 ms: quotas and latencies are as coarse",
		"refined-jiffies":        "it steps by a tick of 1 to 10 ms: quotas and latencies are as coarse",
		"xen":                    "a reading is a system call on many hosts of Xen",
		"hyperv_clocksource_msr": "a reading leaves the virtual machine: microseconds",
	}
}

func (h Host) clocksource() Finding {
	f := Finding{Check: "clock source", Level: OK}
	var err error
	if f.Found, err = h.read(clocksourceDir + "current_clocksource"); err != nil {
		return unreadable(f, err)
	}
	if slices.Contains(fastClocks(), f.Found) {
		return f
	}
	f.Level = Warn
	f.Why = "reading the time is a system call with this clock source, at every packet and event"
	if why, ok := slowClocks()[f.Found]; ok {
		f.Why = why + ", at every packet and event"
	}
	available, err := h.read(clocksourceDir + "available_clocksource")
	if err != nil {
		return unreadable(f, err)
	}
	f.Found += ", available " + available
	for _, better := range fastClocks() {
		if slices.Contains(strings.Fields(available), better) {
			f.Mend = fmt.Sprintf("echo %s > %scurrent_clocksource; clocksource=%s on the kernel's command line for good", better, clocksourceDir, better)
			return f
		}
	}
	f.Mend = "dmesg | grep -iE 'tsc|clocksource' says why the kernel left tsc; tsc=reliable on its command line only if that is an error"
	return f
}

// mostClockError is how far off a clock may be that is kept right: who asks a server each half hour says so much.
const mostClockError = 2 * time.Second

func (h Host) synchronized() Finding {
	f := Finding{Check: "clock's time", Level: OK, Found: fmt.Sprintf("synchronized, at most %v off", h.Clock.MaxError.Round(time.Microsecond))}
	const why = "tokens begin and end by it, and the age of an event is the difference of two hosts' clocks"
	switch {
	case !h.Clock.Synchronized:
		f.Level, f.Found, f.Why = Warn, "nothing keeps it right", why
		f.Mend = "timedatectl set-ntp true, or: apt-get install chrony"
	case h.Clock.MaxError > mostClockError:
		f.Level, f.Why = Warn, why
		f.Mend = "chronyc tracking, or timedatectl timesync-status, says when a server was last heard"
	}
	return f
}
