package broker

import (
	"fmt"
	"strings"
)

// Pattern is a topic, or many: a token "*" stands for any one token, a last token ">" for one or
// more, as in NATS subjects.
type Pattern string

// ParsePattern checks s and returns it as a Pattern. The error wraps [ErrBadTopic].
func ParsePattern(s string) (Pattern, error) {
	if !strings.ContainsAny(s, "*>") {
		t, err := ParseTopic(s)
		return Pattern(t), err
	}
	tokens := strings.Split(s, ".")
	for i, t := range tokens {
		switch {
		case t == ">" && i != len(tokens)-1:
			return "", fmt.Errorf("%w %q: > stands for all that follows: nothing may come after it", ErrBadTopic, s)
		case t == ">" || t == "*":
			tokens[i] = "x"
		case strings.ContainsAny(t, "*>"):
			return "", fmt.Errorf("%w %q: %q: * and > stand for whole tokens: put a dot before and after, as in ticks.*", ErrBadTopic, s, t)
		}
	}
	if _, err := ParseTopic(strings.Join(tokens, ".")); err != nil {
		return "", fmt.Errorf("pattern %q: %w", s, err)
	}
	return Pattern(s), nil
}

// Wild reports whether p has a wildcard; else it is a topic.
func (p Pattern) Wild() bool { return strings.ContainsAny(string(p), "*>") }

// Matches reports whether t is one of the topics that p stands for.
func (p Pattern) Matches(t Topic) bool { return p.Covers(Pattern(t)) }

// Covers reports whether p stands for all that q stands for.
func (p Pattern) Covers(q Pattern) bool {
	return p.compare(q, func(have, other string) bool { return have == "*" && other != ">" })
}

// Overlaps reports whether there can be a topic that both stand for.
func (p Pattern) Overlaps(q Pattern) bool {
	return p.compare(q, func(have, other string) bool { return have == "*" || other == "*" || other == ">" })
}

// compare walks the tokens of both. agree says whether two that differ do; ">" of p agrees with all
// that is left.
func (p Pattern) compare(q Pattern, agree func(have, other string) bool) bool {
	mine, theirs := string(p), string(q)
	for {
		have, mineRest, mineMore := strings.Cut(mine, ".")
		other, theirsRest, theirsMore := strings.Cut(theirs, ".")
		switch {
		case have == ">":
			return true
		case have != other && !agree(have, other):
			return false
		case other == ">": // and they agree
			return true
		case !mineMore || !theirsMore:
			return mineMore == theirsMore
		}
		mine, theirs = mineRest, theirsRest
	}
}
