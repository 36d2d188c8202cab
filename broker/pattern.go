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
	tokens := strings.Split(s, ".")
	for i, t := range tokens {
		switch {
		case t == ">" && i != len(tokens)-1:
			return "", fmt.Errorf("%w %q: > stands for all that follows: nothing may come after it", ErrBadTopic, s)
		case t == ">" || t == "*":
			tokens[i] = "x"
		}
	}
	if _, err := ParseTopic(strings.Join(tokens, ".")); err != nil {
		return "", fmt.Errorf("pattern %q: %w", s, err)
	}
	return Pattern(s), nil
}

// Matches reports whether t is one of the topics that p stands for.
func (p Pattern) Matches(t Topic) bool {
	pattern, topic := string(p), string(t)
	for {
		want, patternRest, patternMore := strings.Cut(pattern, ".")
		have, topicRest, topicMore := strings.Cut(topic, ".")
		switch {
		case want == ">":
			return true
		case want != "*" && want != have:
			return false
		case !patternMore || !topicMore:
			return patternMore == topicMore
		}
		pattern, topic = patternRest, topicRest
	}
}
