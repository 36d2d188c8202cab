package queues

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// parseSoftnet reads /proc/net/softnet_stat, see softnet_seq_show in the kernel's
// net/core/net-procfs.c: a line a CPU that is online, of hexadecimal columns. The first three are
// processed, dropped and time_squeeze; the thirteenth, which 5.10 has and 4.19 has not, is the CPU's
// number.
func parseSoftnet(text string, cpus map[int]CPU) error {
	line := 0
	for l := range strings.Lines(text) {
		fields := strings.Fields(l)
		if len(fields) < 3 {
			return fmt.Errorf("line %d: %d columns: want at least 3", line+1, len(fields))
		}
		var v [13]uint32
		for i := range min(len(fields), len(v)) {
			n, err := strconv.ParseUint(fields[i], 16, 32)
			if err != nil {
				return fmt.Errorf("line %d, column %d: %w", line+1, i+1, err)
			}
			v[i] = uint32(n)
		}
		id := line
		if len(fields) >= len(v) {
			id = int(v[12])
		}
		c := cpus[id]
		c.Processed, c.Dropped, c.Squeezed = v[0], v[1], v[2]
		cpus[id] = c
		line++
	}
	return nil
}

// parseStat reads the cpuN lines of /proc/stat, see Documentation/filesystems/proc.rst: user, nice,
// system, idle, iowait, irq, softirq, steal, and guest times that user and nice hold already.
func parseStat(text string, cpus map[int]CPU) error {
	const softirq, steal = 6, 7
	found := false
	for l := range strings.Lines(text) {
		fields := strings.Fields(l)
		if len(fields) == 0 {
			continue
		}
		rest, ok := strings.CutPrefix(fields[0], "cpu")
		if !ok || rest == "" { // the sum of all
			continue
		}
		id, err := strconv.Atoi(rest)
		if err != nil || id < 0 || len(fields) < 1+steal {
			return fmt.Errorf("line %q: want cpuN and at least %d times", strings.TrimSpace(l), steal)
		}
		c := cpus[id]
		c.Softirq, c.Total = 0, 0
		for i, f := range fields[1 : 1+steal] {
			n, err := strconv.ParseUint(f, 10, 64)
			if err != nil {
				return fmt.Errorf("%s, column %d: %w", fields[0], i+1, err)
			}
			c.Total += n
			if i == softirq {
				c.Softirq = n
			}
		}
		cpus[id], found = c, true
	}
	if !found {
		return errors.New("no line of a CPU")
	}
	return nil
}

// parseSoftirqs reads NET_RX of /proc/softirqs, under the names of CPUs in the first line: all
// possible ones, of which those known otherwise are kept.
func parseSoftirqs(text string, cpus map[int]CPU) error {
	header, rest, _ := strings.Cut(text, "\n")
	names := strings.Fields(header)
	for l := range strings.Lines(rest) {
		fields := strings.Fields(l)
		if len(fields) == 0 || fields[0] != "NET_RX:" {
			continue
		}
		if len(fields) != 1+len(names) {
			return fmt.Errorf("NET_RX: %d columns under %d names", len(fields)-1, len(names))
		}
		for i, name := range names {
			id, err := strconv.Atoi(strings.TrimPrefix(name, "CPU"))
			if err != nil {
				return fmt.Errorf("column %d: %w", i+1, err)
			}
			n, err := strconv.ParseUint(fields[1+i], 10, 32)
			if err != nil {
				return fmt.Errorf("NET_RX of %s: %w", name, err)
			}
			if c, ok := cpus[id]; ok {
				c.NetRX = uint32(n)
				cpus[id] = c
			}
		}
		return nil
	}
	return errors.New("no line NET_RX")
}
