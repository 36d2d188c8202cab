package broker

import (
	"fmt"
	"hash/fnv"
)

// Limits of a topic name. A topic is also the tail of a NATS subject, so its tokens follow
// the rules for subjects.
const (
	// MaxTopicBytes bounds a topic's name, in bytes.
	MaxTopicBytes = 255
	// MaxTopicTokens bounds the dot-separated tokens of a topic.
	MaxTopicTokens = 16
	// Shards is the number of shards of a namespace. It is part of the storage format:
	// changing it moves topics between streams.
	Shards = 256
)

// Topic names a sequence of events: 1 to [MaxTopicTokens] non-empty tokens joined by dots,
// at most [MaxTopicBytes] bytes, of letters, digits and "_-:=@/+~$#,()!%&'". Wildcards,
// white space and control bytes are not topics.
type Topic string

// ParseTopic checks s and returns it as a Topic. The error wraps [ErrBadTopic] and says
// what is wrong and what is allowed.
func ParseTopic(s string) (Topic, error) {
	if s == "" {
		return "", fmt.Errorf("%w: it is empty: name it like ticks.EURUSD", ErrBadTopic)
	}
	if len(s) > MaxTopicBytes {
		return "", fmt.Errorf("%w: %d bytes: at most %d are allowed", ErrBadTopic, len(s), MaxTopicBytes)
	}
	tokens, start := 1, 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '.':
			if i == start {
				return "", fmt.Errorf("%w %q: empty token at byte %d: write one dot between tokens", ErrBadTopic, s, i)
			}
			tokens++
			start = i + 1
		case !topicByte[c]:
			return "", fmt.Errorf("%w %q: byte %q at %d is not allowed: use letters, digits, dots and %s", ErrBadTopic, s, string(rune(c)), i, topicPunctuation)
		}
	}
	if start == len(s) {
		return "", fmt.Errorf("%w %q: it ends in a dot: remove the dot", ErrBadTopic, s)
	}
	if tokens > MaxTopicTokens {
		return "", fmt.Errorf("%w %q: %d tokens: at most %d are allowed", ErrBadTopic, s, tokens, MaxTopicTokens)
	}
	return Topic(s), nil
}

// Shard is the shard of t within its namespace: 0 to [Shards]-1, the 32-bit FNV-1a hash of
// the name modulo Shards. It is stable across versions and machines.
func (t Topic) Shard() int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(t)) // a hash.Hash never fails
	return int(h.Sum32() % Shards)
}

const topicPunctuation = "_-:=@/+~$#,()!%&'"

var topicByte = func() (set [256]bool) {
	for c := '0'; c <= '9'; c++ {
		set[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		set[c], set[c-'a'+'A'] = true, true
	}
	for _, c := range []byte(topicPunctuation) {
		set[c] = true
	}
	return set
}()
