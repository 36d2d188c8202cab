package broker

import (
	"fmt"
	"strconv"
	"strings"
)

// Epoch names one incarnation of a shard's stream: chosen at random when the stream is
// made, kept as long as its events are. Offsets of different epochs do not compare. Zero is
// no epoch.
type Epoch uint64

// String is the epoch in lower-case hexadecimal, without leading zeros.
func (e Epoch) String() string { return strconv.FormatUint(uint64(e), 16) }

// ParseEpoch reads what [Epoch.String] writes; the error wraps [ErrBadPosition].
func ParseEpoch(s string) (Epoch, error) {
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil || v == 0 {
		return 0, fmt.Errorf("%w: epoch %q is not a hexadecimal number above 0", ErrBadPosition, s)
	}
	return Epoch(v), nil
}

// Position is a place in a topic: right after the event with that Offset in that Epoch.
// Offset 0 is before the first event. The zero Position is unknown.
type Position struct {
	Epoch  Epoch
	Offset uint64
}

// IsZero reports whether p is unknown.
func (p Position) IsZero() bool { return p == Position{} }

// String is "epoch:offset": the epoch in hexadecimal, the offset in decimal, as the
// since= parameter and the id of a server-sent event carry it.
func (p Position) String() string {
	return string(p.Append(make([]byte, 0, 40)))
}

// Append appends [Position.String] to b and returns it.
func (p Position) Append(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(p.Epoch), 16)
	b = append(b, ':')
	return strconv.AppendUint(b, p.Offset, 10)
}

// ParsePosition reads "epoch:offset"; the error wraps [ErrBadPosition].
func ParsePosition(s string) (Position, error) {
	es, os, ok := strings.Cut(s, ":")
	if !ok {
		return Position{}, fmt.Errorf("%w %q: want epoch:offset, such as 5f3a9c:120", ErrBadPosition, s)
	}
	e, err := ParseEpoch(es)
	if err != nil {
		return Position{}, err
	}
	o, err := strconv.ParseUint(os, 10, 64)
	if err != nil {
		return Position{}, fmt.Errorf("%w: offset %q is not a decimal number", ErrBadPosition, os)
	}
	return Position{Epoch: e, Offset: o}, nil
}

// Heads is a position in each shard: that of its newest event, zero in one without any.
type Heads [Shards]Position
