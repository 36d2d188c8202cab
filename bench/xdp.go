package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"weir/bpf/baseline"
	"weir/bpf/netlab"
	"weir/bpf/xdp"
)

// XDPConfig configures [RunXDP]. Zero fields take the defaults.
type XDPConfig struct {
	// Reps is how often each case is measured; they take turns. 1 to 100, default 5.
	Reps int
	// Packets are those of a measurement. From many sources three times as many come before it,
	// so that a million is known. 1000 to 100,000,000, default 1,000,000.
	Packets int
}

func (c XDPConfig) withDefaults() XDPConfig {
	if c.Reps == 0 {
		c.Reps = 5
	}
	if c.Packets == 0 {
		c.Packets = 1_000_000
	}
	return c
}

// Validate says what is wrong, joined; nil if nothing is.
func (c XDPConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Reps < 1 || c.Reps > 100 {
		errs = append(errs, fmt.Errorf("--reps is %d: want 1 to 100", c.Reps))
	}
	if c.Packets < 1000 || c.Packets > 100_000_000 {
		errs = append(errs, fmt.Errorf("packets of a measurement are %d: want 1000 to 100000000", c.Packets))
	}
	return errors.Join(errs...)
}

// XDPResult is a run's.
type XDPResult struct {
	Host    HostCard `json:"host"`
	Reps    int      `json:"reps"`
	Packets int      `json:"packets_of_a_measurement"`
	// CPUs ran the programs: the first one alone, then both. SameCore says that they are two
	// threads of one core, which is not two CPUs' worth.
	CPUs     []int    `json:"cpus"`
	SameCore bool     `json:"cpus_share_a_core"`
	Rows     []XDPRow `json:"rows"`
	Bars     []Bar    `json:"bars"`
}

// XDPRow is what was measured of a case.
type XDPRow struct {
	Name string `json:"name"`
	// Above is the row whose time is taken off; empty for those that are taken off themselves.
	Above string `json:"above,omitempty"`
	// Net is the median of nanoseconds a packet over the repetitions.
	Net   float64 `json:"net_ns"`
	Least float64 `json:"least_net_ns"`
	Most  float64 `json:"most_net_ns"`
	// Speedup is the median of two CPUs' packets a second over one CPU's, the mean of what each
	// has alone; 0 if it was not measured.
	Speedup float64 `json:"two_cpus_speedup,omitempty"`
	// Gross are the nanoseconds a packet of each repetition with nothing taken off, on the first
	// CPU; GrossOther those of the second one alone, GrossBoth those of each while both ran.
	Gross      []float64   `json:"gross_ns"`
	GrossOther []float64   `json:"gross_ns_second_cpu,omitempty"`
	GrossBoth  [][]float64 `json:"gross_ns_two_cpus,omitempty"`
	// Skipped says why there is no figure.
	Skipped string `json:"skipped,omitempty"`
}

const xdpPrefix = "weir-bench-"

// xdpLab is what the cases run in: a network namespace, so that neither the host's traffic nor its
// connections are touched, with a listener to answer SYNs for.
type xdpLab struct {
	cfg      XDPConfig
	cpus     []int
	ns       *netlab.Namespace
	listener net.Listener
}

// skippedError says why a case cannot be measured on this host.
type skippedError struct{ why string }

func (e *skippedError) Error() string { return e.why }

// RunXDP measures what a packet costs in xdp_weir and in its rivals, by test runs: no network
// sees a packet. It ends between two measurements when ctx does.
func RunXDP(ctx context.Context, cfg XDPConfig, progress io.Writer) (r *XDPResult, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("measure xdp_weir: %w: XDP is a part of Linux: run weir bench xdp there", errors.ErrUnsupported)
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("measure xdp_weir: %w: it loads BPF programs and makes a network namespace: run it as root", xdp.ErrNotPermitted)
	}
	l := &xdpLab{cfg: cfg.withDefaults()}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := l.open(); err != nil {
		return nil, err
	}
	r = &XDPResult{Host: ReadHostCard(), Reps: l.cfg.Reps, Packets: l.cfg.Packets}
	all, err := baseline.CPUs()
	if err != nil {
		return nil, err
	}
	l.cpus, r.SameCore = pickCPUs(all, coreOf)
	r.CPUs = l.cpus
	cases := xdpCases()
	for _, c := range cases {
		r.Rows = append(r.Rows, XDPRow{Name: c.name, Above: c.above})
	}
	for rep := range l.cfg.Reps {
		start := time.Now()
		for i, c := range cases {
			if err := l.measure(ctx, c, &r.Rows[i]); err != nil {
				return nil, fmt.Errorf("measure %q: %w", c.name, err)
			}
		}
		fmt.Fprintf(progress, "repetition %d of %d: %d cases, %.0f s\n", rep+1, l.cfg.Reps, len(cases), time.Since(start).Seconds())
	}
	sumUp(r.Rows)
	r.Bars = xdpBars(r.Rows)
	return r, nil
}

func (l *xdpLab) open() (err error) {
	if err := netlab.Cleanup(xdpPrefix); err != nil {
		return fmt.Errorf("remove what an earlier run left: %w", err)
	}
	if l.ns, err = netlab.New(xdpPrefix + "xdp"); err != nil {
		return err
	}
	return l.ns.Do(func() (err error) {
		l.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		return err
	})
}

func (l *xdpLab) close() error {
	var errs []error
	if l.listener != nil {
		errs = append(errs, l.listener.Close())
	}
	if l.ns != nil {
		errs = append(errs, l.ns.Close())
	}
	return errors.Join(errs...)
}

// pickCPUs are the first CPU and, if there is more than one, another one: of another core if there
// is such. core names a CPU's.
func pickCPUs(all []int, core func(cpu int) string) (cpus []int, sameCore bool) {
	if len(all) < 2 {
		return all, false
	}
	for _, cpu := range all[1:] {
		if core(cpu) != core(all[0]) {
			return []int{all[0], cpu}, false
		}
	}
	return all[:2], true
}

// coreOf is the list of the CPUs that share a core with one; where the kernel does not tell it is
// taken to be a core.
func coreOf(cpu int) string {
	b, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu))
	if err != nil {
		return fmt.Sprint(cpu)
	}
	return strings.TrimSpace(string(b))
}

// measure loads a case, runs it once more, and adds what it took to its row. It is loaded anew each
// time: only one table of clients is in memory at once, and where in memory it and the program
// are is a part of the noise.
func (l *xdpLab) measure(ctx context.Context, c xdpCase, row *XDPRow) (err error) {
	if err := ctx.Err(); err != nil || row.Skipped != "" {
		return err
	}
	rig := &xdpRig{packet: c.packet}
	defer func() { err = errors.Join(err, rig.close()) }()
	err = c.load(l, rig)
	if skipped, ok := errors.AsType[*skippedError](err); ok {
		row.Skipped = skipped.why
		return nil
	}
	if err != nil {
		return err
	}
	packets, warm := l.cfg.Packets, l.cfg.Packets/10
	if c.many {
		warm = 3 * l.cfg.Packets
	}
	if c.most > 0 {
		warm = min(warm, c.most/10)
		packets = min(packets, c.most-warm)
	}
	if _, err := rig.run.RunOn(l.cpus[:1], rig.packet, warm); err != nil {
		return err
	}
	before, err := rig.stats()
	if err != nil {
		return err
	}
	if err := l.run(c, rig, row, packets); err != nil {
		return err
	}
	after, err := rig.stats()
	if err != nil {
		return err
	}
	return expected(before, after, c.reasons)
}

// run runs a case that is warm: on the first CPU, and where it is to, on the second and on both.
func (l *xdpLab) run(c xdpCase, rig *xdpRig, row *XDPRow, packets int) error {
	one, err := rig.run.RunOn(l.cpus[:1], rig.packet, packets)
	if err != nil {
		return err
	}
	row.Gross = append(row.Gross, nanosEach(one[0], packets))
	if !c.both || len(l.cpus) < 2 {
		return nil
	}
	both, err := rig.run.RunOn(l.cpus, rig.packet, packets)
	if err != nil {
		return err
	}
	row.GrossBoth = append(row.GrossBoth, []float64{nanosEach(both[0], packets), nanosEach(both[1], packets)})
	other, err := rig.run.RunOn(l.cpus[1:], rig.packet, packets)
	if err != nil {
		return err
	}
	row.GrossOther = append(row.GrossOther, nanosEach(other[0], packets))
	return nil
}

func nanosEach(d time.Duration, packets int) float64 {
	return float64(d.Nanoseconds()) / float64(packets)
}

// expected checks that nearly all packets went the way that the case is about.
func expected(before, after xdp.Stats, reasons []xdp.Reason) error {
	if len(reasons) == 0 {
		return nil
	}
	moved := func(r xdp.Reason) uint64 {
		return after.Passed[r].Packets + after.Dropped[r].Packets + after.Answered[r].Packets -
			before.Passed[r].Packets - before.Dropped[r].Packets - before.Answered[r].Packets
	}
	var all, right uint64
	var ways []string
	for _, r := range xdp.Reasons() {
		if n := moved(r); n > 0 {
			all += n
			ways = append(ways, fmt.Sprintf("%v %d", r, n))
		}
	}
	for _, r := range reasons {
		right += moved(r)
	}
	if all == 0 || float64(right) < 0.9*float64(all) {
		return fmt.Errorf("the packets went another way: want %v for nine of ten, had %s", reasons, strings.Join(ways, ", "))
	}
	return nil
}
