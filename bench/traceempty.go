package bench

import (
	"errors"
	"fmt"

	"weir/bpf/baseline"
	"weir/bpf/latency"
)

// TraceEmpty is what the kernel's statistics are of a run of a program that does nothing, medians in ns: a part of
// what is counted for each tracer's runs, which there is not where nobody takes the time.
type TraceEmpty struct {
	// Counted is what such a run is said to take, Added what it takes more because it is timed.
	Counted float64 `json:"counted_ns_per_run"`
	Added   float64 `json:"added_ns_per_run"`
}

const (
	emptyRuns = 200_000
	emptyReps = 5
)

// measureEmpty runs a program that drops all, with its time taken and without.
func measureEmpty() (e TraceEmpty, err error) {
	run, err := baseline.Drop()
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, run.Close()) }()
	cpus, err := baseline.CPUs()
	if err != nil {
		return e, err
	}
	packet := make([]byte, 64)
	var counted, added []float64
	for range emptyReps {
		without, err := run.RunOn(cpus[:1], packet, emptyRuns)
		if err != nil {
			return e, err
		}
		with, ns, err := timedEmpty(run, cpus[:1], packet)
		if err != nil {
			return e, err
		}
		counted = append(counted, ns)
		added = append(added, with-nanosEach(without[0], emptyRuns))
	}
	return TraceEmpty{median(counted), median(added)}, nil
}

// timedEmpty is what a run takes with its time taken, and what that is said to be.
func timedEmpty(run *baseline.Runner, cpus []int, packet []byte) (took, counted float64, err error) {
	t, err := latency.Open(latency.XDP, latency.Config{})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	before, err := t.Snapshot()
	if err != nil {
		return 0, 0, err
	}
	with, err := run.RunOn(cpus, packet, emptyRuns)
	if err != nil {
		return 0, 0, err
	}
	after, err := t.Snapshot()
	if err != nil {
		return 0, 0, err
	}
	after.Sub(before)
	for _, p := range after.Programs {
		if p.Runs == emptyRuns { // others' ran as often as they had packets
			return nanosEach(with[0], emptyRuns), nanosEach(p.Time, emptyRuns), nil
		}
	}
	return 0, 0, fmt.Errorf("no XDP program ran %d times", emptyRuns)
}
