package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// mostCPUs bounds the numbers of CPUs: the kernel's own bound is 8,192.
const mostCPUs = 8192

// ParseCPUs reads a list as the kernel writes it, "0-3,8", to sorted numbers, each once.
func ParseCPUs(text string) ([]int, error) {
	var all []int
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, err := strconv.Atoi(first)
		high, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil || low < 0 || high < low || high >= mostCPUs {
			return nil, fmt.Errorf("list of CPUs %q: want numbers and ranges, as 0-3,8", text)
		}
		for n := low; n <= high; n++ {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// FormatCPUs is what [ParseCPUs] reads.
func FormatCPUs(cpus []int) string {
	var parts []string
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		part := strconv.Itoa(cpus[i])
		if j > i {
			part += "-" + strconv.Itoa(cpus[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// ParseMask reads a mask of CPUs as the kernel writes it, "00000000,0000000f", to sorted numbers.
func ParseMask(text string) ([]int, error) {
	text = strings.TrimPrefix(strings.TrimSpace(text), "0x")
	words := strings.Split(text, ",")
	var cpus []int
	for i, word := range slices.Backward(words) {
		n, err := strconv.ParseUint(word, 16, 64)
		if err != nil || len(words) > 1 && len(word) > 8 || len(words) > mostCPUs/32 {
			return nil, fmt.Errorf("mask of CPUs %q: want words of 32 bits in hex, with commas", text)
		}
		for bit := range 64 {
			if n>>bit&1 == 1 {
				cpus = append(cpus, (len(words)-1-i)*32+bit)
			}
		}
	}
	return cpus, nil
}

// FormatMask is what [ParseMask] reads, of as many words as the highest number needs.
func FormatMask(cpus []int) string {
	if len(cpus) == 0 {
		return "0"
	}
	words := make([]uint32, slices.Max(cpus)/32+1)
	for _, n := range cpus {
		words[n/32] |= 1 << (n % 32)
	}
	var parts []string
	for i, w := range slices.Backward(words) {
		if i == len(words)-1 {
			parts = append(parts, strconv.FormatUint(uint64(w), 16))
			continue
		}
		parts = append(parts, fmt.Sprintf("%08x", w))
	}
	return strings.Join(parts, ",")
}
