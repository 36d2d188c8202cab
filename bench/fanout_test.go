package bench

import (
	"slices"
	"strings"
	"testing"
	"time"

	"weir/bench/load"
	"weir/internal/golden"
)

func TestFanoutConfigSaysAllThatIsWrong(t *testing.T) {
	if err := (FanoutConfig{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	if c := (FanoutConfig{Conns: 10000}).withDefaults(); c.Gather != 260 {
		t.Errorf("%v events/s gather", c.Gather)
	}
	err := FanoutConfig{Conns: -1, Size: 1, Rate: 0.01, Gather: 1e6, Duration: time.Millisecond, Reps: -1, Workers: -1, Servers: []string{"weir", "nginx"}}.Validate()
	for _, want := range []string{
		"--conns is -1", "--size is 1", "--rate is 0.01: want 0.1 to 50000", "--gather is 1e+06", "--duration is 1ms", "--reps is -1", "--workers is -1",
		"--servers is nginx: want some of floor, minimal, weir",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
	if err := (FanoutConfig{Servers: []string{"weir", "weir"}}).Validate(); err == nil {
		t.Error("a server is measured beside itself")
	}
}

func TestEachServerComesFirstInTurn(t *testing.T) {
	names := Servers()
	var first []string
	for rep := range 4 {
		order := rotated(names, rep)
		first = append(first, order[0])
		if slices.Sort(order); !slices.Equal(order, []string{"floor", "minimal", "weir"}) {
			t.Errorf("repetition %d has %v", rep, order)
		}
	}
	if strings.Join(first, " ") != "floor minimal weir floor" || !slices.Equal(names, Servers()) {
		t.Errorf("%v, %v", first, names)
	}
}

// stepAt is one that holds, of 10,000 subscribers and 10 seconds.
func stepAt(rate, micros, p99 float64) *Step {
	n := uint64(rate * 10)
	return &Step{
		Rate: rate, Published: n, Expected: n * 10000, Deliveries: n * 10000, PerSecond: rate * 10000, MicrosCPU: micros, LoadMicros: micros / 2,
		P50: p99 / 2, P99: p99, Max: p99 * 2, Holds: true,
	}
}

// turnsAtTheBar are two repetitions in which weir is just as good as it has to be.
func turnsAtTheBar() []FanoutTurn {
	var turns []FanoutTurn
	for rep := range 2 {
		slower := float64(rep + 1) // all are, in the second: ratios stay
		bus := stepAt(10, 2000, 1)
		bus.Deliveries, bus.Expected = bus.Published, bus.Published
		turns = append(turns,
			FanoutTurn{Server: ServerFloor, Rep: rep, BytesPerConn: 8, ConnectsPerSec: 50000, Sweep: stepAt(10, 2*slower, 40)},
			FanoutTurn{Server: ServerMinimal, Rep: rep, BytesPerConn: 700, ConnectsPerSec: 40000, Sweep: stepAt(10, 4*slower, 50*slower), Gather: stepAt(260, 0.5, 90)},
			FanoutTurn{
				Server: ServerWeir, Rep: rep, BytesPerConn: 900, ConnectsPerSec: 39000, Sweep: stepAt(10, 4.6*slower, 50*slower), Gather: stepAt(260, 0.6, 95),
				BusSweep: bus, BusGather: bus, Search: []Step{*stepAt(250, 0.61, 500), {Rate: 600, Expected: 9, Deliveries: 8, PerSecond: 9e6}},
			})
	}
	return turns
}

func TestFanoutBarsAreMetAtTheBarAndNotBeyond(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(turns []FanoutTurn) []FanoutTurn
		want   []string
	}{
		{"at the bar", func(turns []FanoutTurn) []FanoutTurn { return turns }, []string{
			"met      CPU a delivery, one message a sweep: weir, bus and all / minimal: 1.15x, at most 1.15 (1.15 to 1.15 in 2 repetitions)",
			"met      CPU a delivery, one message a sweep: weir without its bus / minimal: 1.11x, at most 1.15 (",
			"met      p99, one message a sweep: weir / minimal: 1.00x, at most 1 (",
			"met      CPU a delivery when messages gather: weir, bus and all: 0.60 us, at most 0.6",
			"met      deliveries/s without loss: weir: 2600000, at least 2500000",
		}},
		{"beyond", func(turns []FanoutTurn) []FanoutTurn {
			for i := range turns {
				if w := &turns[i]; w.Server == ServerWeir {
					w.Sweep.MicrosCPU *= 1.2
					w.Sweep.P99 *= 1.01
					w.Gather.MicrosCPU, w.Gather.Holds = 0.61, false
					w.Search[0].PerSecond = 2.4e6
				}
			}
			return turns
		}, []string{
			"not met  CPU a delivery, one message a sweep: weir, bus and all / minimal: 1.38x", "not met  CPU a delivery, one message a sweep: weir without its bus / minimal: 1.34x",
			"not met  p99, one message a sweep: weir / minimal: 1.01x", "not met  CPU a delivery when messages gather: weir, bus and all: 0.61 us", "not met  deliveries/s without loss: weir: 2400000",
		}},
		{"weir alone", func(turns []FanoutTurn) []FanoutTurn {
			return slices.DeleteFunc(turns, func(t FanoutTurn) bool { return t.Server != ServerWeir })
		}, []string{"skipped  p99, one message a sweep: weir / minimal: weir and minimal were not both measured", "met      deliveries/s without loss: weir"}},
		{"not weir", func(turns []FanoutTurn) []FanoutTurn {
			return slices.DeleteFunc(turns, func(t FanoutTurn) bool { return t.Server == ServerWeir })
		}, []string{"skipped  CPU a delivery when messages gather: weir, bus and all: weir was not measured", "skipped  deliveries/s without loss: weir: weir was not measured"}},
		{"overloaded", func(turns []FanoutTurn) []FanoutTurn {
			for i := range turns {
				if w := &turns[i]; w.Server == ServerWeir {
					w.Sweep.Holds, w.Gather.Holds, w.Search = false, false, nil
				}
			}
			return turns
		}, []string{
			"not met  deliveries/s without loss: weir: 0, at least 2500000 (none of the rates held)",
			"met      p99, one message a sweep: weir / minimal: 1.00x, at most 1 (1.00 to 1.00 in 2 repetitions; some were late: their messages gathered)",
		}},
	} {
		r := FanoutResult{Turns: tt.change(turnsAtTheBar())}
		r.Rows, r.Bars = fanoutRows(r.Turns), fanoutBars(r.Turns)
		var out strings.Builder
		if err := r.Print(&out); err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.want {
			if !strings.Contains(out.String(), "\n"+want) {
				t.Errorf("%s: no line %q in\n%s", tt.name, want, &out)
			}
		}
	}
}

func TestFanoutTable(t *testing.T) {
	turns := turnsAtTheBar()
	turns[1].Sweep.Holds = false
	turns[2].Gather.Deliveries--
	r := FanoutResult{Floor: "C, cc -O2", Turns: turns, Rows: fanoutRows(turns), Bars: fanoutBars(turns)}
	var out strings.Builder
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/fanouttable.txt", out.String())
}

func TestOnlyWhatWeirLosesIsLost(t *testing.T) {
	turns := turnsAtTheBar() // a search ends where events are lost
	r := FanoutResult{Turns: turns}
	if r.Lost() {
		t.Error("a search's last step counts")
	}
	turns[1].Sweep.Deliveries--
	if r.Lost() {
		t.Error("the minimal server's loss counts")
	}
	turns[5].BusGather.Faults = load.Faults{Duplicate: 1}
	if !r.Lost() {
		t.Error("a doubled event does not count")
	}
}
