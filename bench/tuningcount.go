package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// perGB is how many conns fit in a gigabyte (1e9 bytes) by what each of n has added to the server's memory and to the
// kernel's, of both ends.
func (t *TuningTurn) perGB(with Memory, n int) float64 {
	each := with.perConn(t.Empty, n)
	if sum := each.RSS + each.Slab + each.Sockets; sum > 0 {
		return 1e9 / sum
	}
	return 0
}

// hostTime is what the CPUs of a host have done so far.
type hostTime struct {
	at            time.Time
	cpus          int
	softirq, idle uint64 // ticks
}

// readHostTime is that of this host now.
func readHostTime() (t hostTime, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t, fmt.Errorf("read CPU time: %w", err)
	}
	t, err = parseHostTime(string(stat))
	t.at = time.Now()
	return t, err
}

// parseHostTime reads /proc/stat (proc(5)).
func parseHostTime(stat string) (t hostTime, err error) {
	if t.softirq, _, err = softirqTicks(stat); err != nil {
		return t, err
	}
	for line := range strings.Lines(stat) {
		fields := strings.Fields(line)
		const idle, iowait = 4, 5
		switch {
		case len(fields) == 0 || !strings.HasPrefix(fields[0], "cpu"):
		case fields[0] != "cpu":
			t.cpus++
		default:
			for _, i := range []int{idle, iowait} {
				n, err := strconv.ParseUint(fields[i], 10, 64)
				if err != nil {
					return t, fmt.Errorf("read CPU time: %w", err)
				}
				t.idle += n
			}
		}
	}
	return t, nil
}

// perDelivery is what the CPUs did since before, for each of so many deliveries, microseconds: in soft interrupts, and
// all that was not idle.
func (t hostTime) perDelivery(before hostTime, deliveries uint64) (softirq, busy float64) {
	each := 1e6 / float64(max(deliveries, 1))
	ticks := func(n uint64) float64 { return float64(n) * cpuTick.Seconds() }
	all := t.at.Sub(before.at).Seconds() * float64(t.cpus)
	return ticks(t.softirq-before.softirq) * each, max(all-ticks(t.idle-before.idle), 0) * each
}

// errNoCounter says that a kernel does not count something.
var errNoCounter = errors.New("the kernel has no such counter")

// tcpCounter is one of TcpExt in a text as /proc/net/netstat.
func tcpCounter(netstat, name string) (uint64, error) {
	var names []string
	for line := range strings.Lines(netstat) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i := 1; i < min(len(names), len(fields)); i++ {
			if names[i] == name {
				return strconv.ParseUint(fields[i], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("read %s of /proc/net/netstat: %w", name, errNoCounter)
}
