package rls

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/gateway/policy"
	"weir/ratelimit"

	common "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	pb "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	types "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestDescriptorsAreCharged has rows of calls, one after another at one time: what each is answered, and each of its descriptors.
func TestDescriptorsAreCharged(t *testing.T) {
	address := func(a string, more ...string) *common.RateLimitDescriptor {
		return one(append([]string{"remote_address", a}, more...)...)
	}
	two := of(t, quota("two", 2), "address")
	three := of(t, quota("three", 3), "address")
	byAddress := Rule{Match: match("remote_address", ""), Policies: []string{"two"}}
	type asked struct {
		req  *pb.RateLimitRequest
		want string // O for OK, L for over the limit: of the call, then of each descriptor
	}
	say := func(want string, descriptors ...*common.RateLimitDescriptor) asked {
		return asked{request(descriptors...), want}
	}
	costing := func(n uint32, want string, descriptors ...*common.RateLimitDescriptor) asked {
		r := request(descriptors...)
		r.HitsAddend = n
		return asked{r, want}
	}
	for name, row := range map[string]struct {
		policies []policy.Policy
		rules    []Rule
		calls    []asked
	}{
		"an address has its quota, another one its own": {
			[]policy.Policy{two},
			[]Rule{byAddress},
			[]asked{say("OO", address("1.1.1.1")), say("OO", address("1.1.1.1")), say("LL", address("1.1.1.1")), say("OO", address("1.1.1.2"))},
		},
		"addresses of one prefix are one client": {
			[]policy.Policy{of(t, quota("two", 2), "address/24/56")},
			[]Rule{byAddress},
			[]asked{say("OO", address("1.1.1.1")), say("OO", address("1.1.1.2")), say("LL", address("1.1.1.3")), say("OO", address("1.1.2.1"))},
		},
		"a cost is taken as a whole or not at all": {
			[]policy.Policy{three},
			[]Rule{{Match: match("remote_address", ""), Policies: []string{"three"}}},
			[]asked{costing(2, "OO", address("1.1.1.1")), costing(2, "LL", address("1.1.1.1")), costing(1, "OO", address("1.1.1.1")), say("LL", address("1.1.1.1"))},
		},
		"a descriptor's cost goes before the request's, and may be 0": {
			[]policy.Policy{two},
			[]Rule{byAddress},
			[]asked{
				costing(100, "OO", hits(0, address("1.1.1.1"))), costing(100, "OO", hits(2, address("1.1.1.1"))),
				say("OO", hits(0, address("1.1.1.1"))), say("LL", hits(1, address("1.1.1.1"))),
			},
		},
		"more than there ever is is over the limit": {
			[]policy.Policy{two},
			[]Rule{byAddress},
			[]asked{say("LL", hits(1<<63, address("1.1.1.1"))), say("OO", hits(2, address("1.1.1.1")))},
		},
		"nobody is charged if one descriptor is over its limit": {
			[]policy.Policy{two, three},
			[]Rule{byAddress, {Match: match("path", "/login"), Policies: []string{"three"}}},
			[]asked{
				say("OOO", hits(2, address("1.1.1.1")), one("path", "/login")),
				say("LLO", address("1.1.1.1"), one("path", "/login")), say("LLO", address("1.1.1.1"), one("path", "/login")),
				say("OO", hits(2, one("path", "/login"))), say("LL", one("path", "/login")),
			},
		},
		"what two descriptors charge to one budget is its sum": {
			[]policy.Policy{three},
			[]Rule{{Match: match("remote_address", "", "a", "x"), Policies: []string{"three"}}, {Match: match("remote_address", "", "b", "x"), Policies: []string{"three"}}},
			[]asked{
				say("OOO", address("1.1.1.1", "a", "x"), address("1.1.1.1", "b", "x")),
				say("LLL", address("1.1.1.1", "a", "x"), address("1.1.1.1", "b", "x")),
				say("OO", address("1.1.1.1", "a", "x")),
			},
		},
		"the rule that says most wins": {
			[]policy.Policy{two, three},
			[]Rule{
				{Match: match("remote_address", "", "path", "*"), Policies: []string{"two"}},
				{Match: match("path", "/login", "remote_address", ""), Policies: []string{"three"}},
				{Match: match("path", "/open/*", "remote_address", "")},
			},
			[]asked{
				say("OO", hits(3, address("1.1.1.1", "path", "/login"))), say("LL", address("1.1.1.1", "path", "/login")),
				say("OO", hits(2, one("path", "/other", "remote_address", "1.1.1.1"))),
				say("OO", hits(100, address("1.1.1.1", "path", "/open/x"))), say("LL", hits(3, address("1.1.1.1", "path", "/open"))),
			},
		},
		"a rule holds for its keys alone": {
			[]policy.Policy{two},
			[]Rule{byAddress},
			[]asked{say("OO", hits(9, address("1.1.1.1", "path", "/"))), say("OO", hits(9, one("path", "/"))), say("OO", hits(9, one()))},
		},
		"keys that are there twice fit in their order": {
			[]policy.Policy{two},
			[]Rule{{Match: match("generic_key", "a", "generic_key", "b"), Policies: []string{"two"}}},
			[]asked{say("LL", hits(9, one("generic_key", "a", "generic_key", "b"))), say("OO", hits(9, one("generic_key", "b", "generic_key", "a")))},
		},
		"values left open tell clients apart, those said whole do not": {
			[]policy.Policy{two},
			[]Rule{{Match: match("user", "", "path", "/a"), Policies: []string{"two"}}, {Match: match("user", "", "path", "/b"), Policies: []string{"two"}}},
			[]asked{
				say("OO", hits(2, one("user", "x", "path", "/a"))), say("LL", one("user", "x", "path", "/b")),
				say("OO", hits(2, one("user", "y", "path", "/b"))), say("OO", hits(2, one("user", "", "path", "/b"))),
			},
		},
		"a policy in shadow refuses nothing": {
			[]policy.Policy{{Quota: quota("two", 2), Shadow: true}},
			[]Rule{byAddress},
			[]asked{say("OO", hits(9, address("1.1.1.1")))},
		},
		"what is late is charged whatever is left, and 0 of it asks": {
			[]policy.Policy{of(t, quota("two", 2), "address")},
			[]Rule{{Match: match("remote_address", ""), Policies: []string{"two"}, Late: true}},
			[]asked{
				say("OO", hits(0, address("1.1.1.1"))), say("OO", hits(3, address("1.1.1.1"))),
				say("LL", hits(0, address("1.1.1.1"))), say("OO", hits(0, address("1.1.1.2"))),
			},
		},
		"what is late twice is charged its sum, and does not cost those that are not": {
			[]policy.Policy{of(t, quota("three", 3), "address")},
			[]Rule{
				{Match: match("remote_address", "", "late", "x"), Policies: []string{"three"}, Late: true},
				{Match: match("remote_address", ""), Policies: []string{"three"}},
			},
			[]asked{
				say("OOO", hits(3, address("1.1.1.1")), hits(9, address("1.1.1.1", "late", "x"))),
				say("OOO", hits(2, address("1.1.1.2", "late", "x")), hits(2, address("1.1.1.2", "late", "x"))), say("LL", hits(0, address("1.1.1.2"))),
			},
		},
		"of as many values said whole the longer prefix wins": {
			[]policy.Policy{two, three},
			[]Rule{{Match: match("a", "x", "b", "y*"), Policies: []string{"two"}}, {Match: match("a", "xx*", "b", "yy"), Policies: []string{"three"}}, {Match: match("a", "x*", "b", "yy")}},
			[]asked{say("OO", hits(9, one("a", "x", "b", "x"))), say("LL", hits(3, one("a", "x", "b", "yy"))), say("OO", hits(9, one("a", "xy", "b", "yy"))), say("LL", hits(4, one("a", "xxx", "b", "yy")))},
		},
		"of as many values said whole the longer prefix wins, whichever they are": {
			[]policy.Policy{two, three},
			[]Rule{{Match: match("a", "x", "b", "")}, {Match: match("a", "x*", "b", "y"), Policies: []string{"two"}}},
			[]asked{say("LL", hits(3, one("a", "x", "b", "y"))), say("OO", hits(3, one("a", "x", "b", "z")))},
		},
		"an address among other open values is cut as the policy says": {
			[]policy.Policy{of(t, quota("two", 2), "address/24/56")},
			[]Rule{{Match: match("remote_address", "", "user", ""), Policies: []string{"two"}}},
			[]asked{
				say("OO", hits(2, address("1.1.1.1", "user", "x"))), say("LL", address("1.1.1.2", "user", "x")),
				say("OO", hits(2, address("1.1.1.2", "user", "y"))), say("OO", address("1.1.2.2", "user", "x")),
			},
		},
		"more entries than a rule can have are let through": {
			[]policy.Policy{two},
			[]Rule{byAddress},
			[]asked{say("OO", hits(9, one(make([]string, 2*(MaxEntries+1))...)))},
		},
		"what is no address shares a budget": {
			[]policy.Policy{two},
			[]Rule{byAddress},
			[]asked{say("OO", hits(2, address("x"))), say("LL", address("y")), say("OO", address("0.0.0.0"))},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := rules(t, newDeps(t), row.policies, row.rules...)
			for i, c := range row.calls {
				res := ask(t, r, start, c.req)
				got := letter(res.GetOverallCode())
				for _, s := range res.GetStatuses() {
					got += letter(s.GetCode())
				}
				if got != c.want {
					t.Errorf("call %d: %s: want %s", i+1, got, c.want)
				}
			}
		})
	}
}

func letter(c pb.RateLimitResponse_Code) string {
	switch c {
	case pb.RateLimitResponse_OK:
		return "O"
	case pb.RateLimitResponse_OVER_LIMIT:
		return "L"
	}
	return "?"
}

func TestAnUnknownDomainIsLetThrough(t *testing.T) {
	r := rules(t, newDeps(t), nil)
	res := ask(t, r, start, &pb.RateLimitRequest{Domain: "other", Descriptors: []*common.RateLimitDescriptor{one("a", "b")}})
	if !isOK(res) || len(res.GetStatuses()) != 1 || res.GetStatuses()[0].GetCode() != pb.RateLimitResponse_OK {
		t.Errorf("%v", res)
	}
}

func TestACallThatIsWrongChargesNobody(t *testing.T) {
	limited := Rule{Match: match("n", ""), Policies: []string{"two"}}
	r := rules(t, newDeps(t), []policy.Policy{{Quota: quota("two", 2)}}, limited)
	var many []*common.RateLimitDescriptor
	for i := range MaxDescriptors + 1 {
		many = append(many, one("n", fmt.Sprint(i)))
	}
	negative := one("n", "0")
	negative.IsNegativeHits = true
	for name, row := range map[string]struct {
		req  *pb.RateLimitRequest
		code codes.Code
	}{
		"without a domain":      {&pb.RateLimitRequest{Descriptors: many[:1]}, codes.InvalidArgument},
		"without descriptors":   {request(), codes.InvalidArgument},
		"too many descriptors":  {request(many...), codes.InvalidArgument},
		"too many budgets":      {request(many[:MaxChecks+1]...), codes.InvalidArgument},
		"hits to be given back": {request(one("n", "1"), negative), codes.Unimplemented},
	} {
		x := &call{}
		x.reset(r)
		if _, err := x.decide(t.Context(), start, row.req); status.Code(err) != row.code {
			t.Errorf("%s: %v: want %v", name, err, row.code)
		}
	}
	for i := range MaxChecks {
		if !isOK(ask(t, r, start, request(hits(2, one("n", fmt.Sprint(i)))))) {
			t.Errorf("client %d was charged", i)
		}
	}
	if res := ask(t, r, start, request(many[:MaxChecks]...)); isOK(res) || len(res.GetStatuses()) != MaxChecks {
		t.Errorf("as many budgets as there may be: %v", res)
	}
}

func TestStatusesSayWhatIsLeft(t *testing.T) {
	slow := ratelimit.Quota{Name: "slow", Rate: ratelimit.Rate{Count: 100, Per: 6 * time.Hour}, Algorithm: ratelimit.AlgorithmCounter}
	r := rules(t, newDeps(t), []policy.Policy{{Quota: quota("two", 2)}, {Quota: slow}, {Quota: quota("dark", 1), Shadow: true}},
		Rule{Match: match("remote_address", ""), Policies: []string{"two", "slow", "dark"}}, Rule{Match: match("path", ""), Policies: []string{"slow"}},
		Rule{Match: match("dark", ""), Policies: []string{"dark"}})
	res := ask(t, r, start, request(one("remote_address", "1.1.1.1"), one("path", "/"), one("dark", "x"), one("none", "x")))
	first, second := res.GetStatuses()[0], res.GetStatuses()[1]
	if l := first.GetCurrentLimit(); l.GetName() != "two" || l.GetRequestsPerUnit() != 2 || l.GetUnit() != pb.RateLimitResponse_RateLimit_MINUTE || l.GetUnitMultiplier() != nil {
		t.Errorf("the tightest limit is told as %v", l)
	}
	if first.GetLimitRemaining() != 1 || first.GetDurationUntilReset().AsDuration() != 30*time.Second {
		t.Errorf("there are %d left, for %v", first.GetLimitRemaining(), first.GetDurationUntilReset().AsDuration())
	}
	if l := second.GetCurrentLimit(); l.GetRequestsPerUnit() != 100 || l.GetUnit() != pb.RateLimitResponse_RateLimit_HOUR || l.GetUnitMultiplier().GetValue() != 6 || second.GetLimitRemaining() != 99 {
		t.Errorf("the other one is told as %v", second)
	}
	for _, s := range res.GetStatuses()[2:] {
		if s.GetCurrentLimit() != nil || s.GetDurationUntilReset() != nil {
			t.Errorf("there is a limit that is not told: %v", s)
		}
	}
	if len(res.GetResponseHeadersToAdd()) > 0 {
		t.Error("clients are told, and nobody said so")
	}
}

func TestClientsAreToldIfSo(t *testing.T) {
	for _, row := range []struct {
		tell Tell
		hits uint64
		want string
	}{
		{TellDraft, 1, `ratelimit-policy: "three";q=3;w=60, "two";q=2;w=60|ratelimit: "three";r=2;t=20, "two";r=0;t=60`},
		{TellDraft, 2, `ratelimit-policy: "three";q=3;w=60, "two";q=2;w=60|ratelimit: "three";r=1;t=40, "two";r=2`},
		{TellBoth, 1, `ratelimit-policy: "three";q=3;w=60, "two";q=2;w=60|ratelimit: "three";r=2;t=20, "two";r=0;t=60|x-ratelimit-limit: 2|x-ratelimit-remaining: 0|x-ratelimit-reset: 60`},
	} {
		r, err := compile(t, newDeps(t), []policy.Policy{{Quota: quota("two", 2)}, {Quota: quota("three", 3)}}, Config{Tell: row.tell, Domains: []Domain{{"edge", []Rule{
			{Match: match("remote_address", ""), Policies: []string{"three", "two"}}, {Match: match("user", ""), Policies: []string{"two"}},
		}}}})
		if err != nil {
			t.Fatal(err)
		}
		// Of two clients of one policy the one with less left is told of.
		res := ask(t, r, start, request(hits(row.hits, one("remote_address", "1.1.1.1")), hits(row.hits+1, one("user", "x"))))
		var got []string
		for _, h := range res.GetResponseHeadersToAdd() {
			got = append(got, h.GetKey()+": "+h.GetValue())
		}
		if text := strings.Join(got, "|"); text != row.want {
			t.Errorf("%s\nwant %s", text, row.want)
		}
	}
}

func TestARefusalSaysWhenToComeBack(t *testing.T) {
	r, err := compile(t, newDeps(t), []policy.Policy{{Quota: quota("two", 2)}}, Config{Tell: TellDraft, Domains: []Domain{{"edge", []Rule{{Match: match("remote_address", ""), Policies: []string{"two"}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	ask(t, r, start, request(hits(2, one("remote_address", "1.1.1.1"))))
	res := ask(t, r, start, request(one("remote_address", "1.1.1.1")))
	i := slices.IndexFunc(res.GetResponseHeadersToAdd(), func(h *header) bool { return h.GetKey() == "retry-after" })
	if isOK(res) || i < 0 || !slices.Contains([]string{"30", "31", "32", "33"}, res.GetResponseHeadersToAdd()[i].GetValue()) {
		t.Errorf("%v", res)
	}
}

func TestALimitOfADescriptorHoldsIfTheRuleSaysSo(t *testing.T) {
	with := func(requests uint32, unit types.RateLimitUnit, d *common.RateLimitDescriptor) *common.RateLimitDescriptor {
		d.Limit = &common.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: requests, Unit: unit}
		return d
	}
	r := rules(t, newDeps(t), []policy.Policy{{Quota: quota("two", 2)}},
		Rule{Match: match("a", ""), Policies: []string{"two"}, Override: true}, Rule{Match: match("b", ""), Policies: []string{"two"}})
	for _, row := range []struct {
		name string
		d    *common.RateLimitDescriptor
		ok   bool
	}{
		{"five are allowed", with(5, types.RateLimitUnit_HOUR, hits(5, one("a", "x"))), true},
		{"and no more", with(5, types.RateLimitUnit_HOUR, one("a", "x")), false},
		{"none lets nothing through", with(0, types.RateLimitUnit_HOUR, one("a", "y")), false},
		{"one that cannot be counted leaves the policy's", with(1<<31, types.RateLimitUnit_SECOND, hits(3, one("a", "z"))), false},
		{"which is two", with(1<<31, types.RateLimitUnit_SECOND, hits(2, one("a", "z"))), true},
		{"one without a unit does too", with(5, types.RateLimitUnit_UNKNOWN, hits(3, one("a", "v"))), false},
		{"another rule does not listen", with(5, types.RateLimitUnit_HOUR, hits(3, one("b", "x"))), false},
	} {
		if res := ask(t, r, start, request(row.d)); isOK(res) != row.ok {
			t.Errorf("%s: %v", row.name, res)
		} else if row.ok && row.d.GetLimit().GetRequestsPerUnit() == 5 && res.GetStatuses()[0].GetCurrentLimit().GetUnit() != pb.RateLimitResponse_RateLimit_HOUR {
			t.Errorf("%s: it is told as %v", row.name, res)
		}
	}
	for n := range uint32(maxOverrides + 10) {
		ask(t, r, start, request(with(n+1, types.RateLimitUnit_DAY, hits(0, one("a", "w")))))
	}
	if n := len(r.overrides.of); n > maxOverrides {
		t.Errorf("%d limits are remembered", n)
	}
}

func TestSharedPoliciesAreAskedOnceThoseHereAllow(t *testing.T) {
	store := newShared(t, quota("far", 2))
	deps := newDeps(t)
	deps.Shared = store
	r := rules(t, deps, []policy.Policy{{Quota: quota("far", 2), Shared: true}, {Quota: quota("here", 3)}},
		Rule{Match: match("remote_address", ""), Policies: []string{"here", "far"}}, Rule{Match: match("user", ""), Policies: []string{"far"}, Late: true})
	client := func(n uint64) *pb.RateLimitRequest { return request(hits(n, one("remote_address", "1.1.1.1"))) }
	for i, row := range []struct {
		n     uint64
		ok    bool
		asked int
		name  string // of the limit that is told
	}{{4, false, 0, "here"}, {3, false, 1, "far"}, {2, true, 2, "far"}, {1, false, 3, "far"}} {
		res := ask(t, r, start, client(row.n))
		if isOK(res) != row.ok || store.asked != row.asked || res.GetStatuses()[0].GetCurrentLimit().GetName() != row.name {
			t.Errorf("%d: asked %d times: %v", i, store.asked, res)
		}
	}
	if d := r.deps.Local.Peek(start, &ratelimit.Check{Limit: r.domains["edge"].charge("here"), Key: gatewayKey(t, "1.1.1.1"), Cost: 1}); d.Remaining != 0 || !d.Allowed {
		t.Errorf("here %d are left: want 1, as what was refused was not charged", d.Remaining+1)
	}
	if res := ask(t, r, start, request(hits(9, one("remote_address", "1.1.1.1")), hits(0, one("user", "y")))); res.GetStatuses()[1].GetCurrentLimit() != nil {
		t.Errorf("what was not asked is told: %v", res)
	}
	late := func(n uint64) *pb.RateLimitRequest { return request(hits(n, one("user", "x"))) }
	if res := ask(t, r, start, late(0)); res.GetStatuses()[0].GetLimitRemaining() != 2 {
		t.Errorf("before: %v: want 2 left", res)
	}
	if res := ask(t, r, start, late(1)); res.GetStatuses()[0].GetLimitRemaining() != 1 {
		t.Errorf("with one charged: %v: want 1 left", res)
	}
	if !isOK(ask(t, r, start, late(3))) || isOK(ask(t, r, start, late(0))) {
		t.Error("what is late is not charged to the shared store")
	}
}

// TestWhatIsGoneByTheTimeIsRefused has another call take what was left while the shared store is asked.
func TestWhatIsGoneByTheTimeIsRefused(t *testing.T) {
	store := newShared(t, quota("far", 9))
	deps := newDeps(t)
	deps.Shared = store
	r := rules(t, deps, []policy.Policy{{Quota: quota("far", 9), Shared: true}, {Quota: quota("here", 1)}},
		Rule{Match: match("remote_address", ""), Policies: []string{"here", "far"}}, Rule{Match: match("remote_address", "", "only", "here"), Policies: []string{"here"}})
	store.before = func() { ask(t, r, start, request(one("remote_address", "1.1.1.1", "only", "here"))) }
	if res := ask(t, r, start, request(one("remote_address", "1.1.1.1"))); isOK(res) || res.GetStatuses()[0].GetCurrentLimit().GetName() != "here" {
		t.Errorf("%v", res)
	}
}

func TestAStoreThatIsGoneDoesWhatItsPoliciesSay(t *testing.T) {
	store := newShared(t, quota("far", 2))
	store.gone = errors.New("gone")
	deps := newDeps(t)
	deps.Shared = store
	r := rules(t, deps, []policy.Policy{{Quota: quota("far", 2), Shared: true}}, Rule{Match: match("remote_address", ""), Policies: []string{"far"}})
	for _, open := range []bool{true, false} {
		store.open = open
		x := &call{}
		x.reset(r)
		allowed, err := x.decide(t.Context(), start, request(one("remote_address", "1.1.1.1")))
		if err != nil || allowed != open || x.gone == open {
			t.Errorf("open %v: allowed %v, gone %v, %v", open, allowed, x.gone, err)
		}
	}
}
