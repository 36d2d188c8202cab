package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// WithRatio is how the weir with variables stands to the one without, at a rate: of turns of one repetition each, the
// median, the least and the most.
type WithRatio struct {
	At string `json:"at"`
	// Of is what it is the ratio of.
	Of     string  `json:"of"`
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// withRatios are those of all figures; none if there were not both.
func withRatios(turns []FanoutTurn) (all []WithRatio) {
	for _, at := range []string{atSweep, atGather} {
		for _, figure := range []struct {
			name string
			of   func(s *Step) float64
		}{
			{"CPU a delivery", func(s *Step) float64 { return s.MicrosCPU }},
			{"p50", func(s *Step) float64 { return s.P50 }},
			{"p99", func(s *Step) float64 { return s.P99 }},
		} {
			var ratios []float64
			for i := range turns {
				for j := range turns {
					with, without := &turns[i], &turns[j]
					if with.Server != ServerWeirWith || without.Server != ServerWeir || with.Rep != without.Rep {
						continue
					}
					over, _ := with.step(at)
					base, _ := without.step(at)
					if over != nil && base != nil && figure.of(base) > 0 {
						ratios = append(ratios, figure.of(over)/figure.of(base))
					}
				}
			}
			if len(ratios) > 0 {
				all = append(all, WithRatio{at, figure.name, median(ratios), slices.Min(ratios), slices.Max(ratios)})
			}
		}
	}
	return all
}

func printWithRatios(out io.Writer, with []string, ratios []WithRatio) {
	if len(ratios) == 0 {
		return
	}
	fmt.Fprintf(out, "\nweir with %s / without, in the same repetition\n", strings.Join(with, " "))
	for _, r := range ratios {
		fmt.Fprintf(out, "  %-6s  %-14s  %.2fx, %.2f to %.2f\n", r.At, r.Of, r.Median, r.Least, r.Most)
	}
}
