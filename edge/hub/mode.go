package hub

import (
	"fmt"
	"strings"

	"weir/broker"
)

// Mode is what a subscriber that does not keep up with a topic is sent.
type Mode uint8

// The modes.
const (
	// ModeLog is every event, in order: from the ring, else from the broker; if those no longer
	// have it, the subscriber is told so.
	ModeLog Mode = iota
	// ModeLatest is the newest event of each key, and how many were skipped.
	ModeLatest
)

// String is the mode's name in configuration.
func (m Mode) String() string {
	if m == ModeLatest {
		return "latest"
	}
	return "log"
}

// ModeRule gives topics their mode.
type ModeRule struct {
	Topics broker.Pattern
	Mode   Mode
}

// String is the text of [ParseModeRule].
func (r ModeRule) String() string { return string(r.Topics) + "=" + r.Mode.String() }

// ParseModeRule reads "PATTERN=log" or "PATTERN=latest".
func ParseModeRule(s string) (ModeRule, error) {
	at := strings.LastIndexByte(s, '=') // a topic may have one
	if at < 0 {
		return ModeRule{}, fmt.Errorf("%q: want PATTERN=log or PATTERN=latest, such as ticks.>=latest", s)
	}
	p, err := broker.ParsePattern(s[:at])
	if err != nil {
		return ModeRule{}, err
	}
	r := ModeRule{Topics: p}
	switch s[at+1:] {
	case "log":
	case "latest":
		r.Mode = ModeLatest
	default:
		return ModeRule{}, fmt.Errorf("%q: mode %q: want log or latest", s, s[at+1:])
	}
	return r, nil
}

// modeOf is that of the first rule that has to do with p, if it holds for all of p; else ModeLog,
// which suits all.
func modeOf(rules []ModeRule, p broker.Pattern) Mode {
	for _, r := range rules {
		switch {
		case r.Topics.Covers(p):
			return r.Mode
		case r.Topics.Overlaps(p):
			return ModeLog
		}
	}
	return ModeLog
}
