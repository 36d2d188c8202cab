package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// someTopic and somePattern draw of few tokens, so that they meet.
func someTopic(t *rapid.T) Topic {
	return Topic(strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 4).Draw(t, "topic"), "."))
}

func somePattern(t *rapid.T) Pattern {
	tokens := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "*"}), 0, 4).Draw(t, "pattern")
	if len(tokens) == 0 || rapid.Bool().Draw(t, "rest") {
		tokens = append(tokens, ">")
	}
	p, err := ParsePattern(strings.Join(tokens, "."))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// refMatches is what [Pattern.Matches] says, by a way of its own: every length of a ">".
func refMatches(p Pattern, t Topic) bool {
	want, have := strings.Split(string(p), "."), strings.Split(string(t), ".")
	if i := len(want) - 1; want[i] == ">" {
		if len(have) <= i {
			return false
		}
		want = want[:i]
		for len(want) < len(have) {
			want = append(want, "*")
		}
	}
	return slices.EqualFunc(want, have, func(w, h string) bool { return w == "*" || w == h })
}

func TestMatcherFindsWhatMatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m Matcher[Pattern]
		patterns := map[Pattern]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				p := somePattern(t)
				patterns[p] = true
				m.Add(p, p)
			},
			"remove": func(t *rapid.T) {
				p := somePattern(t)
				delete(patterns, p)
				m.Remove(p)
			},
			"match": func(t *rapid.T) {
				topic := someTopic(t)
				var want []Pattern
				for p := range patterns {
					if p.Matches(topic) != refMatches(p, topic) {
						t.Fatalf("%q matches %q: %v", p, topic, p.Matches(topic))
					}
					if p.Matches(topic) {
						want = append(want, p)
					}
				}
				got := slices.Clone(m.Match(topic))
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) || m.Len() != len(patterns) {
					t.Fatalf("%q: got %v, want %v; %d patterns, want %d", topic, got, want, m.Len(), len(patterns))
				}
			},
		})
		for p := range patterns {
			m.Remove(p)
		}
		if m.Len() != 0 || len(m.root.next) != 0 {
			t.Fatalf("%d patterns and %d nodes are left of none", m.Len(), len(m.root.next))
		}
	})
}

func TestMatcherForgetsAtItsBound(t *testing.T) {
	var m Matcher[int]
	m.Add("t.*", 1)
	for i := range 3 * maxMatches {
		if len(m.Match(Topic(fmt.Sprint("t.", i)))) != 1 {
			t.Fatal("no match")
		}
		if len(m.answers) > maxMatches {
			t.Fatalf("%d topics are remembered, want %d at most", len(m.answers), maxMatches)
		}
	}
	if s := m.Stats(); s.Misses != 3*maxMatches || s.Hits != 0 {
		t.Errorf("counted %+v", s)
	}
}

func TestMatchOfAKnownTopicAllocatesNothing(t *testing.T) {
	var m Matcher[int]
	for i := range 100 {
		m.Add(Pattern(fmt.Sprintf("ticks.%d.*", i)), i)
	}
	m.Add("ticks.>", 100)
	if n := testing.AllocsPerRun(100, func() {
		if len(m.Match("ticks.7.EURUSD")) != 2 {
			t.Fatal("want two matches")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCoversAndOverlaps(t *testing.T) {
	for _, tt := range []struct {
		p, q             Pattern
		covers, overlaps bool
	}{
		{"a.b", "a.b", true, true},
		{"a.*", "a.b", true, true},
		{"a.b", "a.*", false, true},
		{"a.*", "*.b", false, true},
		{"a.*", "b.*", false, false},
		{"a.>", "a.*", true, true},
		{"a.*", "a.>", false, true},
		{"a.>", "a.b.>", true, true},
		{"a.b.>", "a.>", false, true},
		{"a.b.>", "a.*", false, false},
		{"a.>", "a", false, false},
		{">", "*", true, true},
		{"*", ">", false, true},
		{">", ">", true, true},
	} {
		if got := tt.p.Covers(tt.q); got != tt.covers {
			t.Errorf("%q covers %q: %v", tt.p, tt.q, got)
		}
		if got := tt.p.Overlaps(tt.q); got != tt.overlaps || tt.q.Overlaps(tt.p) != got {
			t.Errorf("%q overlaps %q: %v", tt.p, tt.q, got)
		}
	}
}

// TestCoversIsWhatTopicsSay holds both to all topics of up to five tokens.
func TestCoversIsWhatTopicsSay(t *testing.T) {
	topics := []Topic{""}
	var all []Topic
	for range 5 {
		var longer []Topic
		for _, start := range topics {
			for _, token := range []string{"a", "b", "c", "d"} {
				longer = append(longer, Topic(strings.TrimPrefix(string(start)+"."+token, ".")))
			}
		}
		topics = longer
		all = append(all, longer...)
	}
	rapid.Check(t, func(t *rapid.T) {
		p, q := somePattern(t), somePattern(t)
		covers, overlaps := true, false
		for _, topic := range all {
			inQ := refMatches(q, topic)
			covers = covers && (!inQ || refMatches(p, topic))
			overlaps = overlaps || inQ && refMatches(p, topic)
		}
		if p.Covers(q) != covers || p.Overlaps(q) != overlaps {
			t.Fatalf("%q and %q: covers %v, overlaps %v, want %v, %v", p, q, p.Covers(q), p.Overlaps(q), covers, overlaps)
		}
	})
}
