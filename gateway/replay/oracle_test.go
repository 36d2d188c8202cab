package replay

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/gateway/policy"
	"weir/ratelimit"

	"pgregory.net/rapid"
)

// oracle decides as the definitions of the algorithms say, with a list of all that it let through, for one client.
type oracle struct {
	q       ratelimit.Quota
	at      []int64 // of what was let through
	arrival int64
}

// allows decides at a time, nanoseconds since a midnight in UTC.
func (o *oracle) allows(now int64) bool {
	count, per := int64(o.q.Rate.Count), int64(o.q.Rate.Per)
	switch o.q.Algorithm {
	case ratelimit.AlgorithmGCRA:
		burst := int64(o.q.Burst)
		if burst == 0 {
			burst = count
		}
		arrival := max(o.arrival, now)
		if arrival+per/count > now+burst*(per/count) { // per is a multiple of count, in these tests
			return false
		}
		o.arrival = arrival + per/count
		return true
	case ratelimit.AlgorithmLog:
		n := int64(0)
		for _, at := range o.at {
			if at > now-per {
				n++
			}
		}
		if n >= count {
			return false
		}
	case ratelimit.AlgorithmCounter:
		begin := now / per * per
		units, before := int64(0), int64(0)
		for _, at := range o.at {
			switch at / per * per {
			case begin:
				units++
			case begin - per:
				before++
			}
		}
		weighed := (before*(per-(now-begin)) + per - 1) / per
		if units+weighed+1 > count {
			return false
		}
	}
	o.at = append(o.at, now)
	return true
}

// request is one of an oracle's log.
type request struct {
	at      int64
	client  netip.Addr
	agent   string
	limited bool // by what the log says
}

// TestReplayIsAnExactSimulation holds a replay of random logs to a simulation that keeps everything: each sum, client, streak, peak
// and minute.
func TestReplayIsAnExactSimulation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := ratelimit.Quota{
			Name: "candidate", Rate: ratelimit.Rate{Count: rapid.SampledFrom([]uint64{1, 2, 5, 10}).Draw(t, "count"), Per: rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, time.Minute}).Draw(t, "per")},
			Algorithm: rapid.SampledFrom([]ratelimit.Algorithm{ratelimit.AlgorithmGCRA, ratelimit.AlgorithmCounter, ratelimit.AlgorithmLog}).Draw(t, "algorithm"),
		}
		if q.Algorithm == ratelimit.AlgorithmGCRA {
			q.Burst = rapid.Uint64Range(0, 4).Draw(t, "burst")
		}
		key := rapid.SampledFrom([]string{"address", "address/24/48", "header:User-Agent", "global"}).Draw(t, "key")
		part, err := policy.ParseKeyPart(key)
		if err != nil {
			t.Fatal(err)
		}
		var all []request
		now := at("2026-01-02T23:59:00Z") // over midnight
		for range rapid.IntRange(1, 300).Draw(t, "requests") {
			now += int64(rapid.IntRange(0, 1500).Draw(t, "ms")) * 1e6
			all = append(all, request{
				now, netip.AddrFrom4([4]byte{192, 0, byte(rapid.IntRange(1, 2).Draw(t, "net")), byte(rapid.IntRange(1, 2).Draw(t, "host"))}),
				rapid.SampledFrom([]string{"a", "b"}).Draw(t, "agent"), rapid.IntRange(0, 9).Draw(t, "limited") == 0,
			})
		}
		text := writeLog(t, all)
		cfg := Config{Candidate: policy.Policy{Quota: q, Key: []policy.KeyPart{part}}, Window: 10 * time.Second, Top: 100}
		got, err := Run(context.Background(), cfg, Source{Name: "x.log", Reader: strings.NewReader(text)})
		if err != nil {
			t.Fatal(err)
		}
		want := simulate(all, q, key)
		for name, pair := range map[string][2]any{
			"requests": {got.Requests, want.Requests}, "limited": {got.Limited, want.Limited}, "clients": {got.Clients, want.Clients}, "clients limited": {got.ClientsLimited, want.ClientsLimited},
			"top": {show(got.Top), show(want.Top)}, "minutes": {fmt.Sprint(got.Minutes), fmt.Sprint(want.Minutes)},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: got\n%v, want\n%v", name, pair[0], pair[1])
			}
		}
		g, w := got.Against, want.Against
		if [5]uint64{g.Both, g.OnlyLive, g.OnlyCandidate, g.Neither, g.Unknown} != [5]uint64{w.Both, w.OnlyLive, w.OnlyCandidate, w.Neither, 0} || show(g.Changed) != show(w.Changed) {
			t.Errorf("against: got\n%+v %s, want\n%+v %s", g, show(g.Changed), w, show(w.Changed))
		}
	})
}

func show(all []Client) string {
	var b strings.Builder
	for _, c := range all {
		first, last := time.Time{}, time.Time{}
		if c.First != nil {
			first, last = *c.First, *c.Last
		}
		c.First, c.Last = nil, nil
		fmt.Fprintf(&b, "%+v %v %v\n", c, first, last)
	}
	return b.String()
}

// writeLog is the requests as nginx writes them in JSON, each line up to the window late.
func writeLog(t *rapid.T, all []request) string {
	type line struct {
		at   int64
		text string
	}
	var lines []line
	late := int64(0)
	for i, r := range all {
		status := 200
		if r.limited {
			status = 429
		}
		if i == 0 || r.at != all[i-1].at { // those of one time stay in their order
			late = int64(rapid.IntRange(0, 9).Draw(t, "late")) * 1e9
		}
		lines = append(lines, line{r.at + late, fmt.Sprintf(`{"msec":"%d.%09d","remote_addr":"%s","request":"GET / HTTP/1.1","status":%d,"http_user_agent":"%s"}`, r.at/1e9, r.at%1e9, r.client, status, r.agent)})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return int(a.at - b.at) })
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

// simulate is the report by brute force.
func simulate(all []request, q ratelimit.Quota, key string) Report {
	nameOf := func(r request) string {
		switch key {
		case "address":
			return r.client.String()
		case "global":
			return "all"
		case "header:User-Agent":
			return r.agent
		}
		b := r.client.As4()
		return fmt.Sprintf("%d.%d.%d.0/24", b[0], b[1], b[2])
	}
	out := Report{Against: &Against{}}
	clients, oracles := map[string]*Client{}, map[string]*oracle{}
	streaks, seconds, minutes := map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	byMinute := map[int64]*Minute{}
	for _, r := range all {
		name := nameOf(r)
		if clients[name] == nil {
			clients[name], oracles[name] = &Client{Client: name}, &oracle{q: q}
		}
		c := clients[name]
		begun := time.Unix(0, r.at).UTC()
		minute := r.at / 60e9
		if byMinute[minute] == nil {
			byMinute[minute] = &Minute{Begin: begun.Truncate(time.Minute)}
		}
		m := byMinute[minute]
		m.Requests++
		out.Requests++
		c.Requests++
		second := fmt.Sprint(name, " ", r.at/1e9)
		seconds[second]++
		c.PeakPerSecond = max(c.PeakPerSecond, seconds[second])
		inMinute := fmt.Sprint(name, " ", minute)
		minutes[inMinute]++
		c.PeakPerMinute = max(c.PeakPerMinute, minutes[inMinute])
		if r.limited {
			c.Live++
			m.Live++
		}
		allowed := oracles[name].allows(r.at)
		switch {
		case !allowed && r.limited:
			out.Against.Both++
		case !allowed:
			out.Against.OnlyCandidate++
			c.OnlyCandidate++
		case r.limited:
			out.Against.OnlyLive++
			c.OnlyLive++
		default:
			out.Against.Neither++
		}
		if allowed {
			streaks[name] = 0
			continue
		}
		if c.First == nil {
			c.First = &begun
			out.ClientsLimited++
		}
		c.Last = &begun
		c.Limited++
		m.Limited++
		out.Limited++
		streaks[name]++
		c.Streak = max(c.Streak, streaks[name])
	}
	out.Clients = len(clients)
	for _, name := range slices.Sorted(maps.Keys(clients)) {
		c := clients[name]
		c.Share = float64(c.Limited) / float64(c.Requests)
		if c.Limited > 0 {
			out.Top = append(out.Top, *c)
		}
		if c.OnlyLive+c.OnlyCandidate > 0 {
			out.Against.Changed = append(out.Against.Changed, *c)
		}
	}
	slices.SortStableFunc(out.Top, func(a, b Client) int { return int(b.Limited) - int(a.Limited) })
	slices.SortStableFunc(out.Against.Changed, func(a, b Client) int {
		return int(b.OnlyLive+b.OnlyCandidate) - int(a.OnlyLive+a.OnlyCandidate)
	})
	for _, minute := range slices.Sorted(maps.Keys(byMinute)) {
		if byMinute[minute].Limited > 0 {
			out.Minutes = append(out.Minutes, *byMinute[minute])
		}
	}
	slices.SortStableFunc(out.Minutes, func(a, b Minute) int { return int(b.Limited) - int(a.Limited) })
	out.Minutes = out.Minutes[:min(len(out.Minutes), maxMinutes)]
	return out
}
