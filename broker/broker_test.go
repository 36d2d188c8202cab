package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParseTopic(t *testing.T) {
	for _, good := range []string{"a", "ticks.EURUSD", "a.b.c", "user:42/x", strings.Repeat("x", MaxTopicBytes), strings.Repeat("a.", MaxTopicTokens-1) + "a"} {
		if topic, err := ParseTopic(good); err != nil || string(topic) != good {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "é", "a\x00", strings.Repeat("x", MaxTopicBytes+1), strings.Repeat("a.", MaxTopicTokens) + "a"} {
		if _, err := ParseTopic(bad); !errors.Is(err, ErrBadTopic) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestShardsAreStableAndAllUsed(t *testing.T) {
	// Part of the storage format: these may not change.
	for topic, want := range map[Topic]int{"ticks.EURUSD": 189, "a": 44, "news": 70} {
		if got := topic.Shard(); got != want {
			t.Errorf("%s is in shard %d, want %d", topic, got, want)
		}
	}
	used := map[int]bool{}
	for i := range 10000 {
		used[Topic(fmt.Sprint("t.", i)).Shard()] = true
	}
	if len(used) != Shards {
		t.Errorf("10000 topics use %d of %d shards", len(used), Shards)
	}
}

func TestPositionIsWrittenAndRead(t *testing.T) {
	p := Position{Epoch: 0x5f3a9c, Offset: 120}
	if p.String() != "5f3a9c:120" || p.IsZero() {
		t.Errorf("written %s", p)
	}
	if got, err := ParsePosition(p.String()); err != nil || got != p {
		t.Errorf("read %v, %v", got, err)
	}
	for _, bad := range []string{"", "5f", "5f:", ":1", "xyz:1", "0:1", "5f:-1", "5f:1:2", "11112222333344445:1"} {
		if _, err := ParsePosition(bad); !errors.Is(err, ErrBadPosition) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func ExampleParsePosition() {
	p, err := ParsePosition("5f3a9c:120")
	fmt.Println(p.Offset, err)
	// Output: 120 <nil>
}

func TestPatternsStandForTopics(t *testing.T) {
	for _, tt := range []struct {
		pattern   string
		is, isNot []Topic
	}{
		{"a.b", []Topic{"a.b"}, []Topic{"a", "a.b.c", "a.c"}},
		{"a.*", []Topic{"a.b", "a.c"}, []Topic{"a", "a.b.c", "b.a"}},
		{"*.b", []Topic{"a.b"}, []Topic{"b", "a.b.b", "a.c"}},
		{"a.>", []Topic{"a.b", "a.b.c"}, []Topic{"a", "b.a"}},
		{"a.*.>", []Topic{"a.b.c", "a.b.c.d"}, []Topic{"a.b", "b.b.c"}},
		{">", []Topic{"a", "a.b"}, nil},
	} {
		p, err := ParsePattern(tt.pattern)
		if err != nil {
			t.Errorf("%q: %v", tt.pattern, err)
			continue
		}
		for _, topic := range tt.is {
			if !p.Matches(topic) {
				t.Errorf("%q does not match %q", p, topic)
			}
		}
		for _, topic := range tt.isNot {
			if p.Matches(topic) {
				t.Errorf("%q matches %q", p, topic)
			}
		}
	}
	for _, bad := range []string{"", "a.", ".a", "a.>.b", "a b", "a*", "a.b>"} {
		if _, err := ParsePattern(bad); !errors.Is(err, ErrBadTopic) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
