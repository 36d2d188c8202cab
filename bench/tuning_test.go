package bench

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/golden"
	"weir/tuning"
	"weir/tuning/catalog"
	"weir/tuning/knob"
)

func TestTuningConfigIsHeldToItsRanges(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  TuningConfig
		want []string
	}{
		{"zero is valid", TuningConfig{}, nil},
		{"each is valid", TuningConfig{Each: true, Only: []string{"napi", "vm", "vm.swappiness"}}, nil},
		{"quick is valid", TuningConfig{}.Quick(), nil},
		{"profile", TuningConfig{Profile: catalog.Bench}, []string{"--profile is bench: want edge or gateway"}},
		{"only without each", TuningConfig{Only: []string{"napi"}}, []string{"--only is napi: want none without --each"}},
		{"only twice", TuningConfig{Each: true, Only: []string{"napi", "napi"}}, []string{"--only is napi: want some of memory, sending,"}},
		{"all", TuningConfig{For: -1, Conns: 9, Rate: 0.5, Size: 1, Duration: time.Millisecond, Reps: 101, Each: true, Only: []string{"backlog"}}, []string{
			"--for is -1: want 1 to 100000000", "--conns is 9: want 10 to ", "--rate is 0.5: want 1 to 1000", "--size is 1", "--duration is 1ms", "--reps is 101", "--only is backlog",
		}},
	} {
		err := tt.cfg.Validate()
		if (err == nil) != (len(tt.want) == 0) {
			t.Errorf("%s: %v", tt.name, err)
		}
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", tt.name, err, want)
			}
		}
	}
}

func TestEachSettingOfTheCatalogIsInOnePlace(t *testing.T) {
	in := map[string][]string{}
	for _, g := range tuningGroups() {
		for _, key := range g.settings {
			in[key] = append(in[key], g.name)
		}
	}
	for key := range tuningWalls() {
		in[key] = append(in[key], "walls")
	}
	for _, key := range tuningAdvice() {
		in[key] = append(in[key], "advice")
	}
	for _, s := range catalog.All() {
		if len(in[s.Key]) != 1 {
			t.Errorf("%s is in %q: put it in one group, or among the walls or what is advice", s.Key, in[s.Key])
		}
		delete(in, s.Key)
	}
	if len(in) > 0 {
		t.Errorf("not in the catalog: %v", in)
	}
	if !slices.Contains(slices.Collect(maps.Keys(tuningWalls())), tuningBacklog) {
		t.Errorf("%s is no wall", tuningBacklog)
	}
}

func TestTurnsWithAndWithoutSettingsAlternate(t *testing.T) {
	groups := tuningGroups()[:3]
	order := tuningOrder(groups, 4)
	if len(order) != 3*4*2 {
		t.Fatalf("%d turns", len(order))
	}
	first := map[string][]bool{}
	for i := 0; i < len(order); i += 2 {
		a, b := order[i], order[i+1]
		if a.group.name != b.group.name || a.pair != b.pair || a.on == b.on {
			t.Errorf("turns %d and %d are no pair: %+v, %+v", i, i+1, a, b)
		}
		first[a.group.name] = append(first[a.group.name], a.on)
	}
	for name, on := range first {
		for i := 1; i < len(on); i++ {
			if on[i] == on[i-1] {
				t.Errorf("%s: which comes first is %v", name, on)
			}
		}
	}
	if one := tuningOrder(groups[:1], 2); one[0].on || !one[1].on || !one[2].on || one[3].on {
		t.Errorf("off, on, on, off is %+v", one)
	}
}

// turnsOf are turns of a group in the order of a run, whose figure of p99 is given: off and on of each pair.
func turnsOf(group string, pairs ...[2]float64) (all []TuningTurn) {
	turn := func(pair int, on bool, p99 float64) TuningTurn {
		t := TuningTurn{Group: group, Pair: pair, On: on, SoftirqMicros: 2, HostMicros: 9}
		t.Fanout = Step{P50: 3, P99: p99, P999: 2 * p99, MicrosCPU: 4}
		t.Held, t.Queued = Memory{RSS: 1e6, Slab: 8e6, Sockets: 1e6}, Memory{RSS: 1e6, Slab: 9e6, Sockets: 10e6}
		if on {
			t.Changed = []TuningChange{{Setting: "napi_defer_hard_irqs", Knob: "/sys/class/net/edge0/napi_defer_hard_irqs", From: "0", To: "2"}}
		}
		return t
	}
	for i, p := range pairs {
		off, on := turn(i, false, p[0]), turn(i, true, p[1])
		if i%2 == 1 {
			off, on = on, off
		}
		all = append(all, off, on)
	}
	return all
}

func TestAVerdictTakesEveryPairAndTwiceTheNoise(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pairs [][2]float64
		ratio float64
		want  Verdict
	}{
		{"all better by far", [][2]float64{{10, 5}, {10.1, 5.1}, {10, 5}, {10.1, 5.1}, {10, 5}}, 0.5, VerdictGain},
		{"all worse by far", [][2]float64{{5, 10}, {5.1, 10.1}, {5, 10}, {5.1, 10.1}, {5, 10}}, 2, VerdictLoss},
		{"one is not", [][2]float64{{10, 5}, {10.1, 5.1}, {10, 11}, {10.1, 5.1}, {10, 5}}, 0.5, VerdictNone},
		{"all better, within the noise", [][2]float64{{10, 9.9}, {12, 11.9}, {10, 9.9}, {12, 11.9}, {10, 9.9}}, 0.99, VerdictNone},
		{"the same", [][2]float64{{10, 10}, {10, 10}, {10, 10}, {10, 10}, {10, 10}}, 1, VerdictNone},
		{"few", [][2]float64{{10, 5}, {10, 5}, {10, 5}}, 0.5, VerdictFew},
	} {
		turns := turnsOf("napi", tt.pairs...)
		for _, f := range tuningFigures() {
			if f.name != "p99_ms" {
				continue
			}
			row := tuningRow("napi", f, turns, 1000)
			if row.Verdict != tt.want || math.Abs(row.Ratio-tt.ratio) > 0.01 || row.Pairs != len(tt.pairs) || row.Min > row.Ratio || row.Max < row.Ratio {
				t.Errorf("%s: %+v, want %v", tt.name, row, tt.want)
			}
		}
	}
	// Where more is better, it is the other way round.
	r := TuningRow{Pairs: 4, Ratio: 1.5, Min: 1.4, Max: 1.6, Noise: 1.01}
	less := r.verdict(4)
	r.More = true
	if more := r.verdict(4); less != VerdictLoss || more != VerdictGain {
		t.Errorf("%v, %v", less, more)
	}
}

func TestNoiseIsOfTurnsOfTheSameSettings(t *testing.T) {
	figure := tuningFigures()[3]
	turns := turnsOf("napi", [2]float64{10, 1}, [2]float64{20, 2}, [2]float64{40, 4})
	// on 1 then on 2, off 20 then off 40: both by 2.
	if noise, n := tuningNoise(figure, turns, 1000); math.Abs(noise-2) > 1e-9 || n != 2 {
		t.Errorf("%v of %d", noise, n)
	}
	other := append(turnsOf("napi", [2]float64{10, 1}), turnsOf("vm", [2]float64{20, 5})...)
	other[2], other[3] = other[3], other[2] // on of one behind on of the other
	if noise, n := tuningNoise(figure, other, 1000); noise != 0 || n != 0 {
		t.Errorf("%v of %d", noise, n)
	}
}

func TestConnectionsPerGBAreOfAllThatAConnAdds(t *testing.T) {
	turn := TuningTurn{Empty: Memory{RSS: 30e6, Slab: 1e9, Sockets: 4096}}
	with := Memory{RSS: 31e6, Slab: 1e9 + 7e6, Sockets: 4096 + 2e6}
	if got := turn.perGB(with, 1000); got != 1e9/10_000 {
		t.Error(got)
	}
	if got := turn.perGB(turn.Empty, 1000); got != 0 {
		t.Errorf("conns that take nothing: %v", got)
	}
}

func TestEventsThatLeaveTogetherAreGathered(t *testing.T) {
	before := written{events: 100, writes: 90}
	for _, tt := range []struct {
		after written
		want  float64
	}{{before, 0}, {written{200, 190}, 0}, {written{200, 140}, 0.5}, {written{200, 195}, 0}} {
		if got := tt.after.gathered(before); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%+v: %v, want %v", tt.after, got, tt.want)
		}
	}
}

func TestHostTimeIsReadAndSharedAmongDeliveries(t *testing.T) {
	const stat = "cpu  10 20 30 400 5 6 77 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu1 1 2 3 4 5 6 7 8 0 0\nintr 1\n"
	before, err := parseHostTime(stat)
	if err != nil || before.cpus != 2 || before.softirq != 77 || before.idle != 405 {
		t.Errorf("%+v, %v", before, err)
	}
	before.at = time.Now()
	after := hostTime{at: before.at.Add(10 * time.Second), cpus: 2, softirq: 177, idle: 405 + 500}
	// 20 s of CPUs, 5 of them idle, 1 in soft interrupts.
	if softirq, busy := after.perDelivery(before, 1_000_000); softirq != 1 || math.Abs(busy-15) > 1e-6 {
		t.Errorf("%v, %v", softirq, busy)
	}
	if _, err := parseHostTime("cpu 1 2"); err == nil {
		t.Error("half a line is read")
	}
}

func TestTCPCountersAreReadFromNetstat(t *testing.T) {
	const netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 333\nIpExt: ListenOverflows\nIpExt: 9\n"
	for name, want := range map[string]uint64{"ListenOverflows": 22, "ListenDrops": 333} {
		if got, err := tcpCounter(netstat, name); err != nil || got != want {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	if _, err := tcpCounter(netstat, "Nothing"); err == nil {
		t.Error("what is not there is read")
	}
}

// tuningResult is a run of one group, which changes one setting, on a host that has the others as they should be, refuses one and
// has not another.
func tuningResult(each bool) *TuningResult {
	r := &TuningResult{Profile: catalog.Edge, For: 1_000_000, Each: each, Conns: 1000, Rate: 5, Seconds: 5, Reps: 5}
	groups := []tuningGroup{profileGroup(catalog.Edge)}
	if each {
		groups = []tuningGroup{{"napi", "", []string{"napi_defer_hard_irqs", "gro_flush_timeout", "threaded"}}}
	}
	r.Turns = turnsOf(groups[0].name, [2]float64{10, 5}, [2]float64{10.1, 5.1}, [2]float64{10, 5}, [2]float64{10.1, 5.1}, [2]float64{10, 5})
	r.Turns[1].Changed = append(r.Turns[1].Changed,
		TuningChange{Setting: "gro_flush_timeout", Knob: "x", From: "0", To: "0", Note: "left as it is: no"},
		TuningChange{Setting: "fs.nr_open", Knob: "fs.nr_open", From: "1", To: "2"})
	r.Turns[0].Gathered, r.Turns[3].Gathered = 0.04, 0.06
	r.Wall = &TuningWall{
		Setting: tuningBacklog, Conns: 8000, Moved: true,
		Off: WallTurn{Somaxconn: "4096", StallSeconds: 0.4, Waiting: 4097, Overflows: 3903, LastSeconds: 1.1}, On: WallTurn{Somaxconn: "20000", StallSeconds: 0.4, Waiting: 8000, LastSeconds: 0.2},
	}
	plan := &tuning.Plan{Items: []tuning.Item{
		{Setting: "napi_defer_hard_irqs", Status: tuning.Change},
		{Setting: "vm.swappiness", Status: tuning.Change},
		{Setting: "threaded", Status: tuning.Same, Is: "0"},
		{Setting: "kernel.nmi_watchdog", Status: tuning.Refused, Why: "it can only be read"},
		{Setting: "channels/combined", Status: tuning.Advice, Command: "ethtool -L"},
		{Setting: "GOGC", Status: tuning.Advice, Command: "Environment=GOGC=200 in the unit"},
	}}
	r.settle(groups, plan)
	return r
}

func TestEachSettingIsMarkedByItsName(t *testing.T) {
	all := tuningResult(true).Settings
	for key, want := range map[string]Verdict{
		"napi_defer_hard_irqs": VerdictGain, "gro_flush_timeout": VerdictNotHere, "threaded": VerdictAsIs, "vm.swappiness": VerdictUnmeasured,
		"kernel.nmi_watchdog": VerdictNotHere, "channels/combined": VerdictAdvice, "GOGC": VerdictAdvice, "isolcpus": VerdictAdvice, "net.core.somaxconn": VerdictWallMoved,
		"fs.nr_open": VerdictWall, "rings/rx": VerdictNotHere,
	} {
		if got := all[key]; got.Verdict != want {
			t.Errorf("%s: %+v, want %q", key, got, want)
		}
	}
	if m := all["napi_defer_hard_irqs"]; m.Group != "napi" || m.Figures["p99_ms"] != VerdictGain || m.Figures["p50_ms"] != VerdictNone || len(m.Changes) != 1 {
		t.Errorf("%+v", m)
	}
	for _, s := range catalog.All() {
		if m, has := all[s.Key]; has != s.Of(catalog.Edge) || has && m.Verdict == "" {
			t.Errorf("%s: %+v", s.Key, m)
		}
	}
}

func TestAnEdgesVariablesAreWhatThePlanAdvises(t *testing.T) {
	plan := &tuning.Plan{Items: []tuning.Item{
		{Setting: "GOGC", Status: tuning.Advice, Knob: knob.Knob{Name: "GOGC"}, Want: "200", Command: "Environment=GOGC=200 in the unit"},
		{Setting: "GOMAXPROCS", Status: tuning.Advice, Knob: knob.Knob{Name: "GOMAXPROCS"}, Want: "2", Command: "Environment=GOMAXPROCS=2 in the unit"},
		{Setting: "GOMEMLIMIT", Status: tuning.Advice, Knob: knob.Knob{Name: "GOMEMLIMIT"}, Want: "none fits", Command: "conns take all of the memory"},
		{Setting: "thash_entries", Status: tuning.Advice, Command: "thash_entries=1 on the kernel's command line"},
	}}
	got := variables(plan, []string{"GOGC", "GOMEMLIMIT", "thash_entries"})
	if want := []TuningChange{{Setting: "GOGC", Knob: "GOGC", From: "as weir has it", To: "200"}}; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestTuningTable(t *testing.T) {
	var b strings.Builder
	for _, each := range []bool{false, true} {
		if err := tuningResult(each).Print(&b); err != nil {
			t.Fatal(err)
		}
	}
	golden.Check(t, "testdata/tuningtable.txt", b.String())
}
