package knob

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"weir/tuning/host"
)

// Form is how a knob's values are written, and with it when two of them mean the same.
type Form string

// The forms.
const (
	// Number is an integer, in any base: 0x3 is 3.
	Number Form = "number"
	// Rounded is an integer of which the kernel makes the next power of two.
	Rounded Form = "rounded"
	// Numbers are several, with blanks or tabs between them.
	Numbers Form = "numbers"
	// Mask is a set of CPUs as words of hex: 00000000,00000003 is 3.
	Mask Form = "mask"
	// List is a set of CPUs as a list: 0,1 is 0-1.
	List Form = "list"
	// Choice is one word of several: what is read has it in brackets.
	Choice Form = "choice"
	// Word is text that means itself.
	Word Form = "word"
	// Limit is the soft limit of open files in a table of /proc/PID/limits.
	Limit Form = "limit"
)

// Show is a value as people read it: a choice's word, one blank between numbers, sets in short.
func (f Form) Show(raw string) string {
	text := strings.TrimSpace(raw)
	switch f {
	case Number, Rounded, Numbers:
		if all, err := Integers(text); err == nil {
			return strings.Trim(fmt.Sprint(all), "[]")
		}
		return strings.Join(strings.Fields(text), " ")
	case Mask:
		if cpus, err := host.ParseMask(text); err == nil {
			return host.FormatMask(cpus)
		}
	case List:
		if cpus, err := host.ParseCPUs(text); err == nil {
			return host.FormatCPUs(cpus)
		}
	case Choice:
		return chosen(text)
	case Limit:
		return openFiles(text)
	case Word:
	}
	return text
}

// Same reports whether a knob that reads is does what wanted asks for. Not so for a value that cannot be parsed,
// unless both are the same text.
func (f Form) Same(wanted, is string) bool {
	if strings.TrimSpace(wanted) == strings.TrimSpace(is) {
		return true
	}
	switch f {
	case Number, Numbers:
		return f.sameNumbers(wanted, is, func(n int64) int64 { return n })
	case Rounded:
		return f.sameNumbers(wanted, is, powerOfTwo)
	case Mask:
		return sameSet(wanted, is, host.ParseMask)
	case List:
		return sameSet(wanted, is, host.ParseCPUs)
	case Choice:
		return chosen(wanted) == chosen(is)
	case Limit:
		return openFiles(wanted) == openFiles(is)
	case Word:
	}
	return false
}

func (f Form) sameNumbers(wanted, is string, made func(int64) int64) bool {
	a, err := Integers(wanted)
	b, err2 := Integers(is)
	if err != nil || err2 != nil || len(a) == 0 || len(a) != len(b) || f != Numbers && len(a) != 1 {
		return false
	}
	for i := range a {
		if made(a[i]) != b[i] {
			return false
		}
	}
	return true
}

func sameSet(a, b string, parse func(string) ([]int, error)) bool {
	x, err := parse(a)
	y, err2 := parse(b)
	return err == nil && err2 == nil && slices.Equal(x, y)
}

// chosen is the word in brackets, or all of the text if there are none.
func chosen(text string) string {
	_, rest, open := strings.Cut(text, "[")
	word, _, shut := strings.Cut(rest, "]")
	if open && shut {
		return word
	}
	return strings.TrimSpace(text)
}

// openFiles is the soft limit of a table of limits, or the text itself if it is no table.
func openFiles(text string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			if fields := strings.Fields(rest); len(fields) > 0 {
				return fields[0]
			}
		}
	}
	return strings.TrimSpace(text)
}

// Integers are the numbers of a text, which blanks or tabs separate; each in base 10, or 16 with 0x.
func Integers(text string) ([]int64, error) {
	var all []int64
	for field := range strings.FieldsSeq(text) {
		base := 10
		if digits, ok := strings.CutPrefix(field, "0x"); ok {
			field, base = digits, 16
		}
		n, err := strconv.ParseInt(field, base, 64)
		if err != nil {
			return nil, fmt.Errorf("%q: want integers: %w", text, err)
		}
		all = append(all, n)
	}
	return all, nil
}

// powerOfTwo is the least that is not below n; n itself if that is not positive or too large.
func powerOfTwo(n int64) int64 {
	if n <= 1 || n > 1<<62 {
		return n
	}
	return 1 << bits.Len64(uint64(n-1))
}
