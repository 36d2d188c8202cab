package replay

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"weir/gateway/policy"
	"weir/ratelimit"
	"weir/ratelimit/heavy"
)

// Report is what came out of a replay.
type Report struct {
	// Candidate is the policy's name, Policy what it says. Beside is what it is compared with, empty if the log does not say.
	Candidate string `json:"candidate"`
	Policy    string `json:"policy"`
	Beside    string `json:"beside,omitempty"`
	// From and To are when the first and the last request began.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Lines are those read, Bad those that are no requests, of which the first few are in BadLines.
	Lines    uint64    `json:"lines"`
	Bad      uint64    `json:"bad"`
	BadLines []BadLine `json:"bad_lines,omitempty"`
	// Requests are those that quotas were asked about, Held those of them for which the candidate holds.
	Requests uint64 `json:"requests"`
	Held     uint64 `json:"held"`
	// Limited are those that would be refused, by the candidate or another policy that holds beside it.
	Limited uint64 `json:"limited"`
	// Skipped are those that no quota is asked about, by why.
	Skipped []Skipped `json:"skipped,omitempty"`
	// Policies are what each policy of the candidate's world said.
	Policies []PolicyCount `json:"policies"`
	// Clients is how many there are, ClientsLimited how many would be limited. If there are more than Config.Clients, Exact is false, and both
	// are of those that are kept.
	Clients        int  `json:"clients"`
	ClientsLimited int  `json:"clients_limited"`
	Exact          bool `json:"exact"`
	// Top are the clients limited most, Minutes the minutes with the most refusals.
	Top     []Client `json:"top"`
	Minutes []Minute `json:"minutes"`
	// Against compares, if there is what with.
	Against *Against `json:"against,omitempty"`
	// Warnings say what of it is to be taken with care.
	Warnings []string `json:"warnings,omitempty"`
}

// Skipped are requests that no quota is asked about.
type Skipped struct {
	Why      string `json:"why"`
	Requests uint64 `json:"requests"`
}

// PolicyCount is what a policy said: of Asked requests it refused some.
type PolicyCount struct {
	Name    string `json:"name"`
	Asked   uint64 `json:"asked"`
	Refused uint64 `json:"refused"`
}

// Client is one, as the candidate tells clients apart. Times are nil for one that is not limited.
type Client struct {
	Client   string `json:"client"`
	Requests uint64 `json:"requests"`
	Limited  uint64 `json:"limited"`
	// Share is the part that is limited, 0 to 1.
	Share float64    `json:"share"`
	First *time.Time `json:"first,omitempty"`
	Last  *time.Time `json:"last,omitempty"`
	// Streak is how many in a row were limited at most.
	Streak uint64 `json:"streak"`
	// PeakPerSecond and PeakPerMinute are its most requests in a second and a minute of the clock.
	PeakPerSecond uint64 `json:"peak_per_second"`
	PeakPerMinute uint64 `json:"peak_per_minute"`
	// Live is how many the other one limits, OnlyLive and OnlyCandidate where they differ.
	Live          uint64 `json:"live"`
	OnlyLive      uint64 `json:"only_live"`
	OnlyCandidate uint64 `json:"only_candidate"`
	// Missed is how many refusals of it at most came before it was kept; all above is without them.
	Missed uint64 `json:"missed,omitempty"`
}

// Minute is a minute of the clock.
type Minute struct {
	Begin    time.Time `json:"begin"`
	Requests uint64    `json:"requests"`
	Limited  uint64    `json:"limited"`
	Live     uint64    `json:"live"`
}

// Against are the requests by who limits them; Unknown, of which the log does not say, are in none.
type Against struct {
	Both          uint64 `json:"both"`
	OnlyLive      uint64 `json:"only_live"`
	OnlyCandidate uint64 `json:"only_candidate"`
	Neither       uint64 `json:"neither"`
	Unknown       uint64 `json:"unknown"`
	// Changed are the clients for whom it makes the most difference.
	Changed []Client `json:"changed"`
}

// BesideLog is Report.Beside if the log says what was limited.
const BesideLog = "the log"

// report is what was counted, or why it says nothing.
func (r *replay) report() (*Report, error) {
	t := r.tally
	t.closeMinute()
	out := &Report{
		Candidate: t.name, Policy: describe(r.cfg.Candidate), Lines: r.lines.read, Bad: r.lines.bad, BadLines: r.lines.first,
		Requests: t.requests, Held: t.held, Limited: t.limited, Minutes: append([]Minute{}, t.minutes...), Exact: t.clients.Lost() == 0,
		Top: []Client{}, Policies: []PolicyCount{},
	}
	if r.lines.read == r.lines.bad {
		why := "the logs are empty"
		if len(r.lines.first) > 0 {
			b := r.lines.first[0]
			why = fmt.Sprintf("%s, line %d: %s", b.Log, b.Line, b.Why)
		}
		return nil, fmt.Errorf("%w: %s: want nginx's or Apache's common or combined format, or lines of JSON, whose fields --fields names", ErrNoLine, why)
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	out.From, out.To = time.Unix(0, t.from).UTC(), time.Unix(0, t.to).UTC()
	for _, why := range slices.Sorted(maps.Keys(t.skipped)) {
		out.Skipped = append(out.Skipped, Skipped{why.String(), t.skipped[why]})
	}
	for _, name := range slices.Sorted(maps.Keys(t.policies)) {
		out.Policies = append(out.Policies, *t.policies[name])
	}
	slots := t.clients.Slots()
	out.Clients = len(slots)
	for i := range slots {
		if slots[i].Data.limited > 0 {
			out.ClientsLimited++
		}
	}
	out.Top = r.rank(func(c *client) uint64 { return c.limited })
	if r.live != nil {
		out.Beside = r.cfg.Beside.Quota.Name
	} else if t.known > 0 {
		out.Beside = BesideLog
	}
	if out.Beside != "" {
		out.Against = &Against{t.both, t.onlyLive, t.onlyCandidate, t.neither, t.requests - t.known, r.rank(func(c *client) uint64 { return c.onlyLive + c.onlyCandidate })}
	}
	out.Warnings = r.warnings(out)
	return out, nil
}

// check says whether the log has what the policies need.
func (r *replay) check() error {
	for i, part := range r.keys {
		if r.tally.found[i] == 0 {
			return fmt.Errorf("%w: no line has %s: name the field of a log of JSON with --key %s=FIELD", ErrNoKey, part, part)
		}
	}
	if r.tally.timed == 0 && (r.candidate.counts(ratelimit.UnitConcurrentRequests) || r.live.counts(ratelimit.UnitConcurrentRequests)) {
		return fmt.Errorf("%w, which a policy of concurrent requests needs: name the field of a log of JSON with --fields seconds=FIELD", ErrNoSeconds)
	}
	return nil
}

// rank is the clients with the most of something, as many as are listed.
func (r *replay) rank(by func(*client) uint64) []Client {
	var some []*heavy.Slot[client]
	slots := r.tally.clients.Slots()
	for i := range slots {
		if by(&slots[i].Data) > 0 {
			some = append(some, &slots[i])
		}
	}
	slices.SortFunc(some, func(a, b *heavy.Slot[client]) int {
		return cmp.Or(cmp.Compare(by(&b.Data), by(&a.Data)), strings.Compare(a.Name, b.Name))
	})
	out := []Client{}
	for _, slot := range some[:min(len(some), r.cfg.Top)] {
		c := &slot.Data
		one := Client{
			Client: slot.Name, Requests: c.requests, Limited: c.limited, Share: float64(c.limited) / float64(c.requests), Streak: c.longest,
			PeakPerSecond: c.second.most, PeakPerMinute: c.minute.most, Live: c.live, OnlyLive: c.onlyLive, OnlyCandidate: c.onlyCandidate, Missed: slot.Over,
		}
		if c.limited > 0 {
			first, last := time.Unix(0, c.first).UTC(), time.Unix(0, c.last).UTC()
			one.First, one.Last = &first, &last
		}
		out = append(out, one)
	}
	return out
}

// warnings say what is to be taken with care.
func (r *replay) warnings(out *Report) (all []string) {
	t := r.tally
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if t.held == 0 {
		warn("the candidate held for no request: see whether hosts and paths of the log fit a route, and who has which plan")
	}
	if t.coarse == r.lines.read-r.lines.bad {
		warn("the log's times are whole seconds: what came in one second counts as at once, so that a short burst looks stricter than it is")
	}
	if usesIdentity(r.cfg.Candidate.Key) && t.identities == 0 {
		warn("the candidate is keyed by identity, and the log has none: name the field of a log of JSON with --fields identity=FIELD")
	}
	if t.late > 0 {
		warn("%d lines were more than %v late, and were decided at the time of the line before", t.late, r.cfg.Window)
	}
	if t.cut > 0 {
		warn("%d requests were taken to have ended early, as more than %d were under way", t.cut, maxFlights)
	}
	pressure := r.candidate.store.Stats().Pressure
	if r.live != nil {
		pressure += r.live.store.Stats().Pressure
	}
	if pressure > 0 {
		warn("%d decisions were of clients that share a budget, as too many owe at once: raise --clients", pressure)
	}
	if !out.Exact {
		warn("there are more than %d clients: those who were refused the most are kept: raise --clients", r.cfg.Clients)
	}
	return all
}

func usesIdentity(key []policy.KeyPart) bool {
	return slices.ContainsFunc(key, func(p policy.KeyPart) bool { return p.Kind == policy.KeyIdentity })
}
