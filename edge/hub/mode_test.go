package hub

import (
	"strings"
	"testing"

	"weir/broker"
)

func TestFirstModeThatMatchesHolds(t *testing.T) {
	var rules []ModeRule
	for _, text := range []string{"ticks.internal.>=log", "ticks.>=latest", "a=b=latest"} {
		r, err := ParseModeRule(text)
		if err != nil || r.String() != text {
			t.Fatalf("%q: %v, %v", text, r, err)
		}
		rules = append(rules, r)
	}
	for topic, want := range map[broker.Pattern]Mode{
		"ticks.EURUSD": ModeLatest, "ticks.internal.x": ModeLog, "a=b": ModeLatest, "other": ModeLog,
		"ticks.*": ModeLatest, "ticks.>": ModeLog, "ticks.*.x": ModeLog, "ticks.internal.*": ModeLog, "ticks.external.*": ModeLatest, ">": ModeLog, "other.>": ModeLog,
	} {
		if got := modeOf(rules, topic); got != want {
			t.Errorf("%s: %v, want %v", topic, got, want)
		}
	}
}

func TestBadModeRulesSayWhatIsWanted(t *testing.T) {
	for text, want := range map[string]string{
		"ticks": "want PATTERN=log", "ticks=newest": "want log or latest", "ticks.=latest": "ends in a dot", ">.a=log": "nothing may come after",
	} {
		if _, err := ParseModeRule(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
