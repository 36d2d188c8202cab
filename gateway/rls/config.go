package rls

import "fmt"

// Bounds of a configuration and of a call.
const (
	MaxDomains = 1000
	// MaxRules bounds the rules of a domain.
	MaxRules = 10_000
	// MaxEntries bounds the entries of a rule. A descriptor with more has no rule.
	MaxEntries = 16
	// MaxDescriptors bounds those of a call.
	MaxDescriptors = 64
	// MaxChecks bounds the budgets that a call is charged to, of all its descriptors.
	MaxChecks = 16
	// MaxHits bounds what a call costs: more is taken for as much, which is more than any policy has.
	MaxHits = 1<<50 - 1
)

// Config is which policies descriptors are charged to. The zero value has no domains: all is let through.
type Config struct {
	Domains []Domain
	// Tell is which fields Envoy is to add to answers.
	Tell Tell
}

// Domain is what an Envoy calls itself.
type Domain struct {
	Name  string
	Rules []Rule
}

// Rule is for descriptors that have exactly the keys of Match.
type Rule struct {
	// Match are 1 to [MaxEntries] entries, in any order. Of the same key there may be more: they fit in their order.
	Match []Entry
	// Policies are charged; empty to let through what fits.
	Policies []string
	// Late is for hits that are known only when all is over, as of Envoy's apply_on_stream_done: they are charged whatever is
	// left, and decided about as if they cost nothing.
	Late bool
	// Override has a descriptor's limit hold in place of those of the policies, which have to be this process's, and
	// of requests: so many in its time, with what the client owes already. 0 of them lets nothing through. One that
	// cannot be counted, and any without Override, is left out of account, and counted.
	Override bool
}

// Entry is a key, and the values that fit: one, or all that begin as one with a * at its end; empty or * for all.
// All but the first are open.
type Entry struct{ Key, Value string }

// Tell is which fields Envoy is to add to answers.
type Tell uint8

// The ways to tell.
const (
	// TellNone is none: Envoy may say X-RateLimit itself (enable_x_ratelimit_headers).
	TellNone Tell = iota
	// TellDraft is RateLimit and RateLimit-Policy, and Retry-After of refusals.
	TellDraft
	// TellBoth has the older X-RateLimit ones beside them.
	TellBoth
)

// ParseTell reads none, draft or both.
func ParseTell(text string) (Tell, error) {
	for i, name := range [...]string{"none", "draft", "both"} {
		if name == text {
			return Tell(i), nil //nolint:gosec // there are three
		}
	}
	return 0, fmt.Errorf("is %q: want none, draft or both", text)
}
