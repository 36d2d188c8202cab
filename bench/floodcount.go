package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// floodCount is what is counted before and after a setting is measured.
type floodCount struct {
	at                time.Time
	sent, queueLost   uint64
	softirq, allCPU   uint64 // ticks
	serverCPU         float64
	dropped, wouldHit map[string]uint64
}

func (r *floodRun) read(ctx context.Context) (c floodCount, err error) {
	c.at = time.Now()
	sent, err := r.flood.Sent()
	if err != nil {
		return c, err
	}
	link, err := r.lab.Load.Counters(LabLoadEnd)
	if err != nil {
		return c, err
	}
	c.sent, c.queueLost = sent.Sent, link.TxDropped
	if c.softirq, c.allCPU, err = readSoftirq(); err != nil {
		return c, err
	}
	if c.serverCPU, err = cpuSeconds(r.lab.server.Pid()); err != nil {
		return c, err
	}
	switch {
	case r.setting.nftables:
		c.dropped, err = r.lab.droppedByNFTables(ctx)
	case r.setting.mode != "":
		var v Verdicts
		v, err = r.lab.Verdicts(ctx)
		c.dropped, c.wouldHit = v.Dropped, v.WouldDrop
	}
	return c, err
}

// settle sets what was counted in between.
func (r *FloodRow) settle(before, after floodCount) {
	r.Seconds = after.at.Sub(before.at).Seconds()
	r.FloodPerSecond = float64(after.sent-before.sent) / r.Seconds
	r.LostPerSecond = float64(after.queueLost-before.queueLost) / r.Seconds
	r.Softirq = float64(after.softirq-before.softirq) / float64(max(after.allCPU-before.allCPU, 1))
	r.ServerCores = (after.serverCPU - before.serverCPU) / r.Seconds
	r.Dropped, r.WouldDrop = more(before.dropped, after.dropped), more(before.wouldHit, after.wouldHit)
}

// more is what has been added to counts, without zeros.
func more(before, after map[string]uint64) map[string]uint64 {
	diff := map[string]uint64{}
	for name, n := range after {
		if n > before[name] {
			diff[name] = n - before[name]
		}
	}
	return diff
}

// readSoftirq is [softirqTicks] now.
func readSoftirq() (softirq, all uint64, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("read CPU time: %w", err)
	}
	return softirqTicks(string(stat))
}

// softirqTicks are the time that all CPUs have spent in soft interrupts, and in all (proc(5),
// stat). Where the kernel does not measure interrupts (CONFIG_IRQ_TIME_ACCOUNTING), it looks at
// each timer tick what is running: over seconds that is right to a percent or so.
func softirqTicks(stat string) (softirq, all uint64, err error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	const user, softirqField, steal = 1, 7, 8 // guests' time is within the user's
	if len(fields) <= steal || fields[0] != "cpu" {
		return 0, 0, errors.New("read CPU time: no line for all CPUs")
	}
	for i := user; i <= steal; i++ {
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read CPU time: %w", err)
		}
		all += n
		if i == softirqField {
			softirq = n
		}
	}
	return softirq, all, nil
}
