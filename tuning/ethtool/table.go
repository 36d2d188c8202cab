package ethtool

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// mostEntries bounds a table of queues: devices have some hundred to some thousand.
const mostEntries = 1 << 16

// FormatTable writes a table of queues in short: how many entries, then those that repeat, as "128: 0-3".
func FormatTable(table []uint32) string {
	period := 1
	for ; period < len(table); period++ {
		if len(table)%period == 0 && slices.Equal(table[period:], table[:len(table)-period]) {
			break
		}
	}
	var parts []string
	for i := 0; i < period; {
		j := i
		for j+1 < period && table[j+1] == table[j]+1 {
			j++
		}
		part := strconv.FormatUint(uint64(table[i]), 10)
		if j > i {
			part += "-" + strconv.FormatUint(uint64(table[j]), 10)
		}
		parts = append(parts, part)
		i = j + 1
	}
	return fmt.Sprintf("%d: %s", len(table), strings.Join(parts, ","))
}

// ParseTable reads what [FormatTable] writes.
func ParseTable(text string) ([]uint32, error) {
	refused := fmt.Errorf("table of queues %q: want how many entries and those that repeat, as \"128: 0-3\"", text)
	count, list, ok := strings.Cut(strings.TrimSpace(text), ": ")
	entries, err := strconv.Atoi(count)
	if err != nil || !ok || entries < 1 || entries > mostEntries {
		return nil, refused
	}
	var pattern []uint32
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, err := strconv.ParseUint(first, 10, 16)
		high, err2 := strconv.ParseUint(last, 10, 16)
		if err != nil || err2 != nil || high < low || len(pattern)+int(high-low) >= entries { //nolint:gosec // of 16 bits
			return nil, refused
		}
		for n := low; n <= high; n++ {
			pattern = append(pattern, uint32(n))
		}
	}
	if entries%len(pattern) != 0 {
		return nil, refused
	}
	return slices.Repeat(pattern, entries/len(pattern)), nil
}

// Even reports whether a table gives each of so many queues the same share, as near as its length lets it.
func Even(table []uint32, queues int) bool {
	shares := make([]int, queues)
	for _, queue := range table {
		if int(queue) >= queues {
			return false
		}
		shares[queue]++
	}
	return queues > 0 && slices.Max(shares)-slices.Min(shares) <= 1
}

// EvenTable is the one that the kernel begins with: queue after queue, again and again.
func EvenTable(entries, queues int) []uint32 {
	table := make([]uint32, entries)
	for i := range table {
		table[i] = uint32(i % queues) //nolint:gosec // below queues
	}
	return table
}
