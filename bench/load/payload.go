package load

import (
	"errors"
	"strconv"
)

// HeadBytes is the least a payload has: two numbers of 16 hexadecimal digits, each followed by
// a space.
const HeadBytes = 34

var errPayload = errors.New("a payload is not one of the publisher's")

// AppendPayload appends an event: its number, from 1 on, and when it was due, in nanoseconds of
// CLOCK_MONOTONIC, padded to size bytes.
func AppendPayload(b []byte, seq uint64, dueNanos int64, size int) []byte {
	start := len(b)
	b = append(appendHex(b, seq), ' ')
	b = append(appendHex(b, uint64(dueNanos)), ' ') //nolint:gosec // the clock is positive
	for len(b)-start < size {
		b = append(b, '.')
	}
	return b
}

func appendHex(b []byte, v uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[v>>shift&15])
	}
	return b
}

// ParsePayload reads what AppendPayload wrote.
func ParsePayload(b []byte) (seq uint64, dueNanos int64, err error) {
	if len(b) < HeadBytes || b[16] != ' ' || b[33] != ' ' {
		return 0, 0, errPayload
	}
	seq, err1 := strconv.ParseUint(string(b[:16]), 16, 64)
	due, err2 := strconv.ParseUint(string(b[17:33]), 16, 63)
	if err1 != nil || err2 != nil {
		return 0, 0, errPayload
	}
	return seq, int64(due), nil
}

// Check follows the numbers of one conn's events. The zero value expects any first one.
type Check struct{ last uint64 }

// Faults counts what was wrong with the events of all conns.
type Faults struct {
	Lost      uint64 `json:"lost"`
	Duplicate uint64 `json:"duplicate"`
	Disorder  uint64 `json:"disorder"`
	Garbage   uint64 `json:"garbage"`
	Closed    uint64 `json:"closed"` // conns that ended
}

// Any reports whether anything was wrong.
func (f Faults) Any() bool { return f != Faults{} }

// Add adds o to f.
func (f *Faults) Add(o Faults) {
	f.Lost += o.Lost
	f.Duplicate += o.Duplicate
	f.Disorder += o.Disorder
	f.Garbage += o.Garbage
	f.Closed += o.Closed
}

// See takes the next number.
func (c *Check) See(seq uint64, f *Faults) {
	switch {
	case c.last == 0 || seq == c.last+1:
		c.last = seq
	case seq == c.last:
		f.Duplicate++
	case seq < c.last:
		f.Disorder++
	default:
		f.Lost += seq - c.last - 1
		c.last = seq
	}
}
