package ratelimit

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

const (
	// maxMult keeps 1 MiB * mult, and what is added to round it up, below 2^64.
	maxMult  = 1 << 43
	maxShift = 32
	// maxBytesPerSecond is 100 Gbit/s; above it rounding a small frame's cost to ticks shows.
	maxBytesPerSecond = 12_500_000_000
	// MinBurstBytes is the least burst of bytes: a whole frame of Ethernet with two VLAN tags.
	// Below it a frame might never pass.
	MinBurstBytes = 1522
)

// ByteRate is so many bytes per time. The zero value is no rate: [CompileBytes] refuses it.
type ByteRate struct {
	// Bytes over Per is at most 100 Gbit/s.
	Bytes uint64
	Per   time.Duration
}

// byteUnits are those of a rate of bytes, in eighths: bits. Powers of ten, as of links; of two
// with an i.
var byteUnits = []struct {
	name string
	bits uint64
}{
	{"GiB", 8 << 30},
	{"MiB", 8 << 20},
	{"KiB", 8 << 10},
	{"GB", 8e9},
	{"MB", 8e6},
	{"kB", 8e3},
	{"B", 8},
	{"Gbit", 1e9},
	{"Mbit", 1e6},
	{"kbit", 1e3},
	{"bit", 1},
}

// ParseByteRate reads "10MB/s", "100Mbit/s", "64KiB/min": a number, a unit, and a time as in
// [ParseRate].
func ParseByteRate(text string) (ByteRate, error) {
	bad := fmt.Errorf("%w %q: want bytes or bits per s, min, h or d, such as 10MB/s, 100Mbit/s or 64KiB/min", ErrBadRate, text)
	amount, per, ok := strings.Cut(text, "/")
	if !ok {
		return ByteRate{}, bad
	}
	digits := strings.TrimRight(amount, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	// The time's grammar is that of a count's rate.
	r, err := ParseRate(digits + "/" + per)
	if err != nil {
		return ByteRate{}, bad
	}
	for _, u := range byteUnits {
		if u.name != amount[len(digits):] {
			continue
		}
		hi, total := bits.Mul64(r.Count, u.bits)
		if hi != 0 || total%8 != 0 {
			return ByteRate{}, bad
		}
		return ByteRate{Bytes: total / 8, Per: r.Per}, nil
	}
	return ByteRate{}, bad
}

// String is the rate as ParseByteRate reads it.
func (r ByteRate) String() string {
	_, per, _ := strings.Cut(Rate{Count: 1, Per: r.Per}.String(), "/")
	for _, u := range byteUnits[:7] {
		if n := u.bits / 8; r.Bytes >= n && r.Bytes%n == 0 {
			return strconv.FormatUint(r.Bytes/n, 10) + u.name + "/" + per
		}
	}
	return "0B/" + per
}

// BytePlan is a quota of bytes in integers: see [BytePlan.Cost]. Limit is how many ticks one may
// be ahead of the clock.
type BytePlan struct {
	Mult, Limit uint64
	Shift       uint32
}

// CompileBytes is the BytePlan of a rate with so many bytes at once. A byte's ticks are kept in a
// fraction as fine as fits, so that a rate is missed by no more than the rounding of a frame's
// cost to a tick. The error wraps [ErrOutOfRange].
func CompileBytes(r ByteRate, burst uint64) (BytePlan, error) {
	if r.Bytes == 0 || r.Per <= 0 {
		return BytePlan{}, fmt.Errorf("rate %v: %w: want it above 0", r, ErrOutOfRange)
	}
	if burst < MinBurstBytes {
		return BytePlan{}, fmt.Errorf("rate %v, burst %d bytes: %w: the burst is below a packet: want %d bytes or more", r, burst, ErrOutOfRange, MinBurstBytes)
	}
	hi, ticks := bits.Mul64(uint64(r.Per), TicksPerNano)
	if hi != 0 {
		return BytePlan{}, fmt.Errorf("rate %v: %w: the time is too long", r, ErrOutOfRange)
	}
	if hi, lo := bits.Mul64(r.Bytes, uint64(time.Second)); hi != 0 || lo/uint64(r.Per) > maxBytesPerSecond || lo/uint64(r.Per) == maxBytesPerSecond && lo%uint64(r.Per) != 0 {
		return BytePlan{}, fmt.Errorf("rate %v: %w: at most 100 Gbit/s", r, ErrOutOfRange)
	}
	for shift := uint32(maxShift); ; shift-- {
		// ceil(ticks << shift / bytes), over 128 bits.
		hi, lo := ticks>>(64-shift), ticks<<shift
		if shift == 0 {
			hi = 0
		}
		if hi < r.Bytes {
			mult, rest := bits.Div64(hi, lo, r.Bytes)
			if rest != 0 {
				mult++
			}
			if mult < maxMult {
				return limited(r, BytePlan{Mult: mult, Shift: shift}, burst)
			}
		}
		if shift == 0 {
			return BytePlan{}, fmt.Errorf("rate %v: %w: it is too slow: want 1 byte per 9 minutes or more", r, ErrOutOfRange)
		}
	}
}

// limited sets the limit: burst * mult >> shift, a year at most.
func limited(r ByteRate, p BytePlan, burst uint64) (BytePlan, error) {
	hi, lo := bits.Mul64(burst, p.Mult)
	if hi>>p.Shift != 0 {
		return BytePlan{}, fmt.Errorf("rate %v, burst %d bytes: %w: the burst is more than a year's worth: lower it", r, burst, ErrOutOfRange)
	}
	p.Limit = lo >> p.Shift
	if p.Shift > 0 {
		p.Limit |= hi << (64 - p.Shift)
	}
	if p.Limit > maxAhead {
		return BytePlan{}, fmt.Errorf("rate %v, burst %d bytes: %w: the burst is more than a year's worth: lower it", r, burst, ErrOutOfRange)
	}
	return p, nil
}
