package bpftrace

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxStacks is how many stacks are printed.
const maxStacks = 10

// stacks gathers what bpftrace prints of a map of stacks: 0.17 has one entry for each thread that a stack was seen in, and here
// each stack is once, with the sum. It is told lines in their order.
type stacks struct {
	name  string // the map's
	open  bool
	lines []string
	sums  map[string]uint64
}

// take takes a line, and reports whether it was one of the map's.
func (s *stacks) take(line string) bool {
	if !s.open {
		s.open = line == s.name+"["
		s.lines = nil
		return s.open
	}
	value, ended := strings.CutPrefix(line, "]: ")
	if !ended {
		s.lines = append(s.lines, line)
		return true
	}
	s.open = false
	if n, err := strconv.ParseUint(value, 10, 64); err == nil {
		if s.sums == nil {
			s.sums = map[string]uint64{}
		}
		s.sums[strings.Join(s.lines, "\n")] += n
	}
	return true
}

// String are the largest, the smallest of them first, as bpftrace prints maps.
func (s *stacks) String() string {
	all := slices.SortedFunc(maps.Keys(s.sums), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.sums[a], s.sums[b]), strings.Compare(a, b))
	})
	var text strings.Builder
	for _, stack := range all[max(0, len(all)-maxStacks):] {
		fmt.Fprintf(&text, "%s[\n%s\n]: %d\n", s.name, stack, s.sums[stack])
	}
	return text.String()
}
