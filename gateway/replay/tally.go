package replay

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"weir/gateway/policy"
	"weir/ratelimit/heavy"
)

// tally is what is counted of a replay.
type tally struct {
	name    string
	key     []policy.KeyPart
	parts   []policy.KeyPart // those that the log's lines have, in their order
	clients *heavy.Sketch[client]
	scratch []byte

	from, to                                  int64
	requests, held, limited, late, cut, known uint64
	both, onlyLive, onlyCandidate, neither    uint64
	coarse, timed, identities                 uint64
	found                                     []uint64 // by part
	skipped                                   map[policy.Outcome]uint64
	policies                                  map[string]*PolicyCount

	minute  Minute
	at      int64 // of minute, since 1970
	minutes []Minute
}

// client is what is counted of one, while it has a slot.
type client struct {
	requests, limited, live, onlyLive, onlyCandidate uint64
	first, last                                      int64
	streak, longest                                  uint64
	second, minute                                   peak
}

// peak is the most in any second or minute.
type peak struct {
	at      int64
	n, most uint64
}

func (p *peak) add(at int64) {
	if at != p.at {
		p.at, p.n = at, 0
	}
	p.n++
	p.most = max(p.most, p.n)
}

func newTally(cfg *Config, parts []policy.KeyPart) *tally {
	t := &tally{
		name: cfg.Candidate.Quota.Name, key: cfg.Candidate.Key, parts: parts, clients: heavy.NewSketch[client](cfg.Clients),
		found: make([]uint64, len(parts)), skipped: map[policy.Outcome]uint64{}, policies: map[string]*PolicyCount{}, at: -1,
	}
	if len(t.key) == 0 {
		t.key = []policy.KeyPart{{Kind: policy.KeyAddress, IPv4Bits: policy.DefaultIPv4Bits, IPv6Bits: policy.DefaultIPv6Bits}}
	}
	return t
}

// seen notes what a line has.
func (t *tally) seen(e *entry) {
	if e.coarse {
		t.coarse++
	}
	if e.timed {
		t.timed++
	}
	if e.identity != "" {
		t.identities++
	}
	for i, v := range e.keys {
		if v != "" {
			t.found[i]++
		}
	}
	if t.from == 0 {
		t.from = e.begun
	}
	t.to = max(t.to, e.begun)
}

// skip counts a request that quotas are not asked about.
func (t *tally) skip(why policy.Outcome) { t.skipped[why]++ }

// decided counts a request.
func (t *tally) decided(now int64, e *entry, x *policy.Exchange, candidate, live policy.Outcome, known bool) {
	if candidate != policy.Admitted && candidate != policy.Limited {
		t.skip(candidate)
		return
	}
	for i := range x.Held() {
		name, _, d := x.At(i)
		p := t.policies[name]
		if p == nil {
			p = &PolicyCount{Name: name}
			t.policies[name] = p
		}
		p.Asked++
		if name == t.name {
			t.held++
		}
		if !d.Allowed {
			p.Refused++
		}
	}
	limited, was := candidate == policy.Limited, known && live == policy.Limited
	t.requests++
	if limited {
		t.limited++
	}
	t.countMinute(now, limited, was)
	weight := uint64(0)
	if limited || was {
		weight = 1
	}
	t.scratch = t.appendName(t.scratch[:0], x, e)
	var c *client
	if slot := t.clients.Add(t.scratch, weight); slot != nil {
		c = &slot.Data
		c.add(now, limited)
		if was {
			c.live++
		}
	} else {
		c = &client{} // it is not kept
	}
	switch {
	case !known:
	case limited && was:
		t.both++
	case limited:
		t.onlyCandidate++
		c.onlyCandidate++
	case was:
		t.onlyLive++
		c.onlyLive++
	default:
		t.neither++
	}
	if known {
		t.known++
	}
}

// add counts a request of the client.
func (c *client) add(now int64, limited bool) {
	c.requests++
	c.second.add(now / int64(time.Second))
	c.minute.add(now / int64(time.Minute))
	if !limited {
		c.streak = 0
		return
	}
	if c.limited == 0 {
		c.first = now
	}
	c.limited++
	c.last = now
	c.streak++
	c.longest = max(c.longest, c.streak)
}

// countMinute counts by minutes, which come one after another: the worst are kept.
func (t *tally) countMinute(now int64, limited, live bool) {
	if at := now / int64(time.Minute); at != t.at {
		t.closeMinute()
		t.at = at
		t.minute = Minute{Begin: time.Unix(60*at, 0).UTC()}
	}
	t.minute.Requests++
	if limited {
		t.minute.Limited++
	}
	if live {
		t.minute.Live++
	}
}

func (t *tally) closeMinute() {
	if t.minute.Limited == 0 {
		return
	}
	at, _ := slices.BinarySearchFunc(t.minutes, t.minute, func(a, b Minute) int {
		return cmp.Or(cmp.Compare(b.Limited, a.Limited), a.Begin.Compare(b.Begin))
	})
	t.minutes = slices.Insert(t.minutes, at, t.minute)
	t.minutes = t.minutes[:min(len(t.minutes), maxMinutes)]
	t.minute = Minute{}
}

// appendName appends the client as the candidate tells them apart, in words.
func (t *tally) appendName(b []byte, x *policy.Exchange, e *entry) []byte {
	start := len(b)
	for i := range t.key {
		if i > 0 {
			b = append(b, ' ')
		}
		part := &t.key[i]
		value, ok := "", true
		switch part.Kind {
		case policy.KeyAddress:
			b = appendPrefix(b, x.Client, part.IPv4Bits, part.IPv6Bits)
			continue
		case policy.KeyIdentity:
			value, ok = e.identity, e.identity != ""
		case policy.KeyRoute:
			value = x.Route.Name
		case policy.KeyGlobal:
			value = "all"
		default:
			value = e.keys[slices.Index(t.parts, *part)]
			ok = value != ""
		}
		if !ok { // it is charged by its address, or not at all
			return appendPrefix(b[:start], x.Client, policy.DefaultIPv4Bits, policy.DefaultIPv6Bits)
		}
		b = append(b, value...)
	}
	return b
}

// appendPrefix appends an address cut to so many bits; as a prefix, if these are not all.
func appendPrefix(b []byte, a netip.Addr, bits4, bits6 uint8) []byte {
	bits := int(bits6)
	if a.Is4() {
		bits = int(bits4)
	}
	if bits == a.BitLen() {
		return a.AppendTo(b)
	}
	p, err := a.Prefix(bits)
	if err != nil { // the bits are those of a policy
		return a.AppendTo(b)
	}
	return p.AppendTo(b)
}
