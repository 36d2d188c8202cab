package rls

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/gateway/policy"
	"weir/ratelimit"

	"pgregory.net/rapid"
)

// slowFind is find by the words of the package: it looks at every rule.
func slowFind(all []Rule, entries []*entry) int {
	best, bestWhole, bestPrefix := -1, 0, 0
	for at, r := range all {
		if len(r.Match) != len(entries) {
			continue
		}
		m := slices.Clone(r.Match)
		slices.SortStableFunc(m, func(a, b Entry) int { return cmp.Compare(a.Key, b.Key) })
		fits, whole, prefix := true, 0, 0
		for i, e := range m {
			value := entries[i].GetValue()
			switch begin, open := strings.CutSuffix(e.Value, "*"); {
			case e.Key != entries[i].GetKey():
				fits = false
			case e.Value == "":
			case open:
				fits = fits && strings.HasPrefix(value, begin)
				prefix += len(begin)
			default:
				fits = fits && value == e.Value
				whole++
			}
		}
		if fits && (best < 0 || whole > bestWhole || whole == bestWhole && prefix > bestPrefix) {
			best, bestWhole, bestPrefix = at, whole, prefix
		}
	}
	return best
}

// TestTheRuleIsThatOfALookAtAll compares the index with a look at every rule.
func TestTheRuleIsThatOfALookAtAll(t *testing.T) {
	policies, err := policy.New(policy.Config{}, newDeps(t))
	if err != nil {
		t.Fatal(err)
	}
	key := rapid.SampledFrom([]string{"a", "b", "ab"})
	texts := rapid.SampledFrom([]string{"", "x", "xy", "xyz", "y"})
	values := rapid.SampledFrom([]string{"", "*", "x", "xy", "x*", "xy*", "y"})
	of := func(v *rapid.Generator[string]) *rapid.Generator[[]Entry] {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Entry { return Entry{key.Draw(t, "key"), v.Draw(t, "value")} }), 1, 3)
	}
	rapid.Check(t, func(t *rapid.T) {
		d, at := &domain{groups: map[string]*group{}}, 0
		var all []Rule
		for _, m := range rapid.SliceOfN(of(values), 0, 40).Draw(t, "rules") {
			r := Rule{Match: m}
			if err := d.add(at, &r, policies); err == nil { // not there twice
				all = append(all, r)
				at++
			}
		}
		var entries []*entry
		for _, e := range of(texts).Draw(t, "descriptor") {
			entries = append(entries, &entry{Key: e.Key, Value: e.Value})
		}
		slices.SortStableFunc(entries, func(a, b *entry) int { return cmp.Compare(a.GetKey(), b.GetKey()) })
		got := -1
		if r, _ := d.find(entries, nil); r != nil {
			got = r.place
		}
		if want := slowFind(all, entries); got != want {
			t.Fatalf("rule %d: want %d", got, want)
		}
	})
}

// TestBudgetsAreTheGateways has a client charged by one and asked for by the other.
func TestBudgetsAreTheGateways(t *testing.T) {
	for _, row := range []struct {
		name       string
		key, match []string
		descriptor []string
		same       bool
	}{
		{"an address", []string{"address"}, []string{"remote_address", ""}, []string{"remote_address", "192.0.2.1"}, true},
		{"a path said whole does not count", []string{"address"}, []string{"remote_address", "", "path", "/"}, []string{"path", "/", "remote_address", "192.0.2.1"}, true},
		{"a path left open does", []string{"address"}, []string{"remote_address", "", "path", ""}, []string{"path", "/", "remote_address", "192.0.2.1"}, false},
		{"a masked address of as many bits", []string{"address/24/56"}, []string{"masked_remote_address", ""}, []string{"masked_remote_address", "192.0.2.0/24"}, true},
		{"another address", []string{"address"}, []string{"remote_address", ""}, []string{"remote_address", "192.0.2.2"}, false},
		{"an identity", []string{"identity"}, []string{"identity", ""}, []string{"identity", "shop"}, true},
		{"an identity by another name", []string{"identity"}, []string{"user", ""}, []string{"user", "shop"}, false},
		{"an identity that is named", []string{"identity"}, []string{"identity", "shop"}, []string{"identity", "shop"}, false},
		{"a header, in any case", []string{"header:user-agent"}, []string{"header:USER-AGENT", ""}, []string{"header:USER-AGENT", "curl"}, true},
		{"parts in the policy's order", []string{"route", "address"}, []string{"address", "", "route", ""}, []string{"address", "192.0.2.1", "route", "all"}, true},
		{"nothing", []string{"global"}, []string{"path", "/"}, []string{"path", "/"}, true},
		{"everything but something", []string{"global"}, []string{"path", ""}, []string{"path", "/"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			deps := newDeps(t)
			gateway, err := policy.New(policy.Config{
				Policies:  []policy.Policy{of(t, quota("two", 2), row.key...)},
				Consumers: []policy.Consumer{{Name: "shop", Keys: [][32]byte{policy.SumKey("secret")}}},
				Routes:    []policy.Route{{Name: "all", Upstream: "u", Policies: []string{"two"}}},
			}, deps)
			if err != nil {
				t.Fatal(err)
			}
			r, err := New(Config{Domains: []Domain{{"edge", []Rule{{Match: match(row.match...), Policies: []string{"two"}}}}}}, gateway, deps)
			if err != nil {
				t.Fatal(err)
			}
			if !isOK(ask(t, r, start, request(hits(2, one(row.descriptor...))))) {
				t.Fatal("the first is refused")
			}
			x := &policy.Exchange{}
			o := gateway.Begin(start, get(), x)
			if want := map[bool]policy.Outcome{true: policy.Limited, false: policy.Admitted}[row.same]; o != want {
				t.Errorf("the gateway says %v: want %v", o, want)
			}
		})
	}
}

// TestNoKeyOfOursIsOneOfTheGateways has a client whose name would make it so.
func TestNoKeyOfOursIsOneOfTheGateways(t *testing.T) {
	r := rules(t, newDeps(t), []policy.Policy{{Quota: quota("two", 2)}}, Rule{Match: match("\x05", ""), Policies: []string{"two"}})
	entries := []*entry{{Key: "\x05", Value: "abc"}}
	found, _ := r.domains["edge"].find(entries, nil)
	key := found.charges[0].appendKey(nil, entries)
	part := policy.KeyPart{Kind: policy.KeyIdentity}
	if other := part.AppendValue(nil, "\x02\x03abc"); bytes.Equal(key, other) || !bytes.HasSuffix(key, other) {
		t.Errorf("%x and %x: want them apart by what comes before", key, other)
	}
}

// TestTheServiceDecidesAsTheGateway has one series of requests go through both, each with a store of its own.
func TestTheServiceDecidesAsTheGateway(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		algorithm := rapid.SampledFrom([]ratelimit.Algorithm{ratelimit.AlgorithmGCRA, ratelimit.AlgorithmCounter, ratelimit.AlgorithmLog}).Draw(rt, "algorithm")
		q := ratelimit.Quota{Name: "q", Algorithm: algorithm, Rate: ratelimit.Rate{Count: rapid.Uint64Range(1, 9).Draw(rt, "count"), Per: time.Minute}}
		policies := []policy.Policy{of(t, q, "address/24/56")}
		r := rules(t, newDeps(t), policies, Rule{Match: match("remote_address", ""), Policies: []string{"q"}})
		gateway, err := policy.New(policy.Config{Policies: policies, Routes: []policy.Route{{Name: "all", Upstream: "u", Policies: []string{"q"}}}}, newDeps(t))
		if err != nil {
			rt.Fatal(err)
		}
		now, x := start, &policy.Exchange{}
		for range rapid.IntRange(1, 60).Draw(rt, "requests") {
			now += rapid.Uint64Range(0, 30*second).Draw(rt, "later")
			address := rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.200", "198.51.100.7", "2001:db8::1", "2001:db8:0:ff::1"}).Draw(rt, "address")
			req := get()
			req.Peer = addr(address)
			o := gateway.Begin(now, req, x)
			res := ask(t, r, now, request(one("remote_address", address)))
			if (o == policy.Admitted) != isOK(res) {
				rt.Fatalf("the gateway says %v, the service %v", o, res)
			}
			_, _, d := x.At(0)
			if s := res.GetStatuses()[0]; uint64(s.GetLimitRemaining()) != d.Remaining || s.GetDurationUntilReset().AsDuration() != d.Reset {
				rt.Fatalf("the gateway says %+v, the service %v", d, s)
			}
			if o == policy.Admitted {
				x.End(now, 0, 0)
			}
		}
	})
}

func TestMistakesOfRulesAreAllTold(t *testing.T) {
	store := newShared(t, quota("far", 2))
	deps := newDeps(t)
	deps.Shared = store
	atOnce := ratelimit.Quota{Name: "at-once", Unit: ratelimit.UnitConcurrentRequests, Burst: 3}
	policies := []policy.Policy{{Quota: quota("two", 2)}, {Quota: quota("far", 2), Shared: true}, {Quota: atOnce}}
	_, err := compile(t, deps, policies, Config{Domains: []Domain{
		{"edge", []Rule{
			{Match: match("a", ""), Policies: []string{"two"}},
			{Match: match("a", "*"), Policies: []string{"two"}},
			{Policies: []string{"two"}},
			{Match: match("", "x"), Policies: []string{"two"}},
			{Match: match("b", ""), Policies: []string{"none"}},
			{Match: match("c", ""), Policies: []string{"at-once"}},
			{Match: match("d", ""), Policies: []string{"far"}, Override: true},
			{Match: match("e", ""), Late: true, Override: true},
			{Match: make([]Entry, MaxEntries+1)},
		}},
		{"edge", nil},
		{"", nil},
	}})
	if err == nil {
		t.Fatal("it is taken")
	}
	for _, want := range []string{
		"rls.domains.edge: rule 2: it has the same match as rule 1: keep one", "rule 3: match has 0 entries: want 1 to 16", "rule 4: match has an entry without a key",
		`rule 5: there is no policy "none"`, `rule 6: policy "at-once" counts concurrent requests`, `rule 7: policy "far" is shared`, "rule 8: late and override",
		"rule 9: match has 17 entries", "rls.domains.edge is there twice", "rls.domains. is there twice, or has no name",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it does not say %s:\n%v", want, err)
		}
	}
}
