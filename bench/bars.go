package bench

import (
	"fmt"
	"io"
	"slices"
	"strconv"
)

// median is the middle of some, the mean of the two middle ones of an even number; 0 of none.
func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(of))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Bar is a figure held against what it should be.
type Bar struct {
	Name   string  `json:"name"`
	Figure float64 `json:"figure"`
	Bar    float64 `json:"bar"`
	// Unit is x for a ratio. AtLeast says that more is better.
	Unit    string `json:"unit"`
	AtLeast bool   `json:"at_least,omitempty"`
	Met     bool   `json:"met"`
	// Note is what to know beside it.
	Note string `json:"note,omitempty"`
	// Skipped says why there is no figure.
	Skipped string `json:"skipped,omitempty"`
}

// judge is the bar with its figure.
func (b Bar) judge(figure float64) Bar {
	b.Figure = figure
	b.Met = figure <= b.Bar && !b.AtLeast || figure >= b.Bar && b.AtLeast
	return b
}

// String is a line that says whether it was met.
func (b Bar) String() string {
	if b.Skipped != "" {
		return fmt.Sprintf("%-8s %s: %s", "skipped", b.Name, b.Skipped)
	}
	verdict, bound := "not met", "at most"
	if b.Met {
		verdict = "met"
	}
	if b.AtLeast {
		bound = "at least"
	}
	unit := b.Unit
	if unit != "x" && unit != "" {
		unit = " " + unit
	}
	line := fmt.Sprintf("%-8s %s: %s%s, %s %s", verdict, b.Name, b.figure(), unit, bound, strconv.FormatFloat(b.Bar, 'f', -1, 64))
	if b.Note != "" {
		line += " (" + b.Note + ")"
	}
	return line
}

// figure has a digit more than the bar, so that one that just misses it is not taken for it.
func (b Bar) figure() string {
	switch b.Unit {
	case "x", "us", "%":
		return fmt.Sprintf("%.2f", b.Figure)
	case "ns":
		return fmt.Sprintf("%.1f", b.Figure)
	default:
		return fmt.Sprintf("%.0f", b.Figure)
	}
}

func printBars(w io.Writer, bars []Bar) {
	fmt.Fprintln(w)
	for _, b := range bars {
		fmt.Fprintln(w, b)
	}
}
