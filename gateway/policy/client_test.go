package policy

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"weir/token"

	"pgregory.net/rapid"
)

func TestOnlyTrustedProxiesSayWhoTheClientIs(t *testing.T) {
	r := rules(t, Config{Routes: all(), TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}, Deps{})
	for _, c := range []struct {
		what, peer string
		fields     []string
		want       string
	}{
		{"no proxy", "192.0.2.1", nil, "192.0.2.1"},
		{"a client that spoofs", "192.0.2.1", []string{"X-Forwarded-For", "198.51.100.9"}, "192.0.2.1"},
		{"a proxy", "10.0.0.1", []string{"X-Forwarded-For", "198.51.100.9"}, "198.51.100.9"},
		{"a proxy, mapped", "::ffff:10.0.0.1", []string{"X-Forwarded-For", "198.51.100.9"}, "198.51.100.9"},
		{"a proxy behind a proxy", "10.0.0.1", []string{"X-Forwarded-For", "198.51.100.9, 10.0.0.2"}, "198.51.100.9"},
		{"a client that spoofs before a proxy", "10.0.0.1", []string{"X-Forwarded-For", "203.0.113.7, 198.51.100.9"}, "198.51.100.9"},
		{"two fields", "10.0.0.1", []string{"X-Forwarded-For", "203.0.113.7", "X-Forwarded-For", "198.51.100.9"}, "198.51.100.9"},
		{"nonsense", "10.0.0.1", []string{"X-Forwarded-For", "nonsense"}, "10.0.0.1"},
		{"nonsense before a proxy", "10.0.0.1", []string{"X-Forwarded-For", "unknown, 10.0.0.2"}, "10.0.0.2"},
		{"a port", "10.0.0.1", []string{"X-Forwarded-For", "198.51.100.9:1234"}, "198.51.100.9"},
		{"IPv6 with a port", "fd00::1", []string{"X-Forwarded-For", "[2001:db8::1]:80"}, "2001:db8::1"},
		{"IPv6 in brackets", "fd00::1", []string{"X-Forwarded-For", "[2001:db8::1]"}, "2001:db8::1"},
		{"proxies alone", "10.0.0.1", []string{"X-Forwarded-For", "10.0.0.3,10.0.0.2"}, "10.0.0.3"},
		{"an empty member", "10.0.0.1", []string{"X-Forwarded-For", "198.51.100.9,"}, "10.0.0.1"},
	} {
		var x Exchange
		q := get("/", c.fields...)
		q.Peer = netip.MustParseAddr(c.peer)
		if o := r.Begin(start, q, &x); o != Admitted || x.Client.String() != c.want {
			t.Errorf("%s: %v, %v, want %s", c.what, o, x.Client, c.want)
		}
	}
	many := make([]string, 0, 200)
	for range 100 {
		many = append(many, "X-Forwarded-For", "10.0.0.9")
	}
	q := get("/", append(many[:198:198], "X-Forwarded-For", "198.51.100.9")...)
	q.Peer = netip.MustParseAddr("10.0.0.1")
	var x Exchange
	if r.Begin(start, q, &x); x.Client.String() != "198.51.100.9" {
		t.Errorf("behind 99 fields: %v", x.Client)
	}
}

// tokens know alice's.
type tokens struct{ checked int }

func (v *tokens) Verify(text string) (*token.Claims, error) {
	v.checked++
	switch text {
	case "alice":
		return &token.Claims{Subject: "alice", Class: "gold", Expires: time.Now().Add(time.Hour)}, nil
	case "bob":
		return &token.Claims{Subject: "bob", Class: "unknown", Expires: time.Now().Add(-time.Second)}, nil
	}
	return nil, token.ErrForged
}

func TestAnIdentityIsAConsumersOrATokens(t *testing.T) {
	v := &tokens{}
	plans := []Plan{{Name: "gold"}, {Name: "free"}, {Name: "nobody"}, {Name: "own"}}
	cfg := Config{
		Plans: plans, AnonymousPlan: "nobody", DefaultPlan: "free",
		Consumers: []Consumer{
			{Name: "shop", Plan: "own", Keys: [][32]byte{SumKey("k1"), SumKey("k2")}},
			{Name: "carol"},
			{Name: "alice", Keys: [][32]byte{SumKey("k3")}},
		},
		Routes: []Route{
			{Name: "required", Path: "/required", Upstream: "u"},
			{Name: "optional", Path: "/optional", Upstream: "u", Auth: AuthOptional},
			{Name: "none", Path: "/none", Upstream: "u", Auth: AuthNone},
		},
	}
	r := rules(t, cfg, Deps{Tokens: v})
	for _, c := range []struct {
		path     string
		fields   []string
		outcome  Outcome
		identity string
		plan     string
		err      error
	}{
		{"/required", nil, Unauthorized, "", "", ErrNoCredential},
		{"/optional", nil, Admitted, "", "nobody", nil},
		{"/none", nil, Admitted, "", "nobody", nil},
		{"/required", []string{"X-API-Key", "k1"}, Admitted, "shop", "own", nil},
		{"/required", []string{"X-API-Key", "k2"}, Admitted, "shop", "own", nil},
		{"/required", []string{"X-API-Key", "k3"}, Admitted, "alice", "free", nil},
		{"/optional", []string{"X-API-Key", "wrong"}, Unauthorized, "", "", ErrUnknownKey},
		{"/optional", []string{"X-API-Key", ""}, Unauthorized, "", "", ErrUnknownKey},
		{"/none", []string{"X-API-Key", "wrong"}, Admitted, "", "nobody", nil},
		{"/required", []string{"Authorization", "Bearer alice"}, Admitted, "alice", "gold", nil},
		{"/required", []string{"Authorization", "bearer  alice"}, Admitted, "alice", "gold", nil},
		{"/required", []string{"Authorization", "Bearer bob"}, Admitted, "bob", "free", nil},
		{"/optional", []string{"Authorization", "Bearer mallory"}, Unauthorized, "", "", token.ErrForged},
		{"/optional", []string{"Authorization", "Bearer "}, Unauthorized, "", "", token.ErrForged},
		{"/optional", []string{"Authorization", "Basic YTpi"}, Admitted, "", "nobody", nil},
		{"/optional", []string{"Authorization", "Bearer alice", "X-API-Key", "k1"}, Unauthorized, "", "", ErrTwoKeys},
		{"/optional", []string{"X-API-Key", "k1", "X-API-Key", "k2"}, Unauthorized, "", "", ErrTwoKeys},
		{"/optional", []string{"Authorization", "Bearer alice", "Authorization", "Bearer bob"}, Unauthorized, "", "", ErrTwoKeys},
	} {
		var x Exchange
		o := r.Begin(start, get(c.path, c.fields...), &x)
		if o != c.outcome || x.Identity != c.identity || !errors.Is(x.Err, c.err) {
			t.Errorf("%s %q: %v, %q, %v", c.path, c.fields, o, x.Identity, x.Err)
			continue
		}
		if p := r.planOf(&x); o == Admitted && (p == nil || p.name != c.plan) {
			t.Errorf("%s %q: plan %+v, want %s", c.path, c.fields, p, c.plan)
		}
	}
}

func TestATokenIsCheckedOnceAMinuteUntilItEnds(t *testing.T) {
	v := &tokens{}
	c := newClaimCache()
	now := time.Now()
	c.now = func() time.Time { return now }
	ask := func(text string, want int) {
		t.Helper()
		if c.known(text) == nil {
			_, _ = c.check(v, text)
		}
		if v.checked != want {
			t.Fatalf("%s: checked %d times, want %d", text, v.checked, want)
		}
	}
	ask("alice", 1)
	ask("alice", 1)
	now = now.Add(claimsKept)
	ask("alice", 2)
	ask("bob", 3) // it has ended by its own clock, within the leeway
	ask("bob", 4)
	ask("mallory", 5)
	ask("mallory", 6)
	ask("alice", 6)
}

func TestNoTwoClientsHaveTheSameKey(t *testing.T) {
	parts := key(t, "header:A", "header:B", "identity")
	part := rapid.StringOfN(rapid.RuneFrom([]rune{'a', 2, 1, 0, 3}), 0, 130, 130)
	rapid.Check(t, func(t *rapid.T) {
		make := func() (values [3]string, key []byte) {
			values = [3]string{part.Draw(t, "a"), part.Draw(t, "b"), part.Draw(t, "identity")}
			x := &Exchange{Identity: values[2], request: get("/", "A", values[0], "B", values[1])}
			for i := range parts {
				key, _ = parts[i].appendTo(key, x)
			}
			return values, key
		}
		v1, k1 := make()
		v2, k2 := make()
		if (v1 == v2) != bytes.Equal(k1, k2) {
			t.Fatalf("%q and %q: %x, %x", v1, v2, k1, k2)
		}
	})
}

func TestAnAddressIsCutToItsPrefix(t *testing.T) {
	for _, c := range []struct {
		part, a, b string
		same       bool
	}{
		{"address", "192.0.2.1", "192.0.2.2", false},
		{"address", "192.0.2.1", "::ffff:192.0.2.1", true},
		{"address", "2001:db8::1", "2001:db8::ffff:0:0:2", true},
		{"address", "2001:db8::1", "2001:db8:0:1::1", false},
		{"address/24/48", "192.0.2.1", "192.0.2.255", true},
		{"address/24/48", "192.0.2.1", "192.0.3.1", false},
		{"address/24/48", "2001:db8:0:1::1", "2001:db8:0:2::1", true},
		{"address/32/128", "2001:db8::1", "2001:db8::2", false},
		{"address/32/127", "2001:db8::2", "2001:db8::3", true},
		{"address/1/1", "1.1.1.1", "100.1.1.1", true},
	} {
		p := key(t, c.part)[0]
		if p.String() != c.part {
			t.Errorf("%s is written %s", c.part, p)
		}
		a, _ := p.appendTo(nil, &Exchange{Client: netip.MustParseAddr(c.a)})
		b, _ := p.appendTo(nil, &Exchange{Client: netip.MustParseAddr(c.b)})
		if bytes.Equal(a, b) != c.same {
			t.Errorf("%s: %s and %s: %x, %x", c.part, c.a, c.b, a, b)
		}
	}
}

func FuzzParseKeyPart(f *testing.F) {
	for _, s := range []string{"address", "address/24", "address/24/56", "identity", "route", "global", "header:User-Agent", "claim:tenant", "header:", "address/0", "address/33/129/1", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseKeyPart(text)
		if err != nil {
			return
		}
		again, err := ParseKeyPart(p.String())
		if err != nil || again != p {
			t.Errorf("%q: %+v, again %+v, %v", text, p, again, err)
		}
	})
}

func TestATokenThatIsNotKnownMayBeCheckedLater(t *testing.T) {
	v := &tokens{}
	r := rules(t, Config{
		Policies: []Policy{{Quota: quota("q", 2, time.Minute), Key: key(t, "identity")}}, Routes: all("q"),
	}, Deps{Tokens: v})
	ask := func(text string) (outcomes []Outcome, x *Exchange) {
		x = &Exchange{Later: true}
		o := r.Open(start, get("/", "Authorization", "Bearer "+text), x)
		outcomes = append(outcomes, o)
		if o == Ask && !x.Checks() {
			t.Error("it asks for something else")
		}
		switch o {
		case Ask:
			outcomes = append(outcomes, x.Ask(t.Context()))
		case Admitted:
			outcomes = append(outcomes, x.Decide())
		}
		return outcomes, x
	}
	for i, c := range []struct {
		text string
		want []Outcome
	}{
		{"mallory", []Outcome{Ask, Unauthorized}},
		{"alice", []Outcome{Ask, Admitted}},
		{"alice", []Outcome{Admitted, Admitted}},
		{"alice", []Outcome{Admitted, Limited}},
		{"mallory", []Outcome{Ask, Unauthorized}},
	} {
		got, x := ask(c.text)
		if !slices.Equal(got, c.want) {
			t.Errorf("request %d, of %s: %v, want %v", i, c.text, got, c.want)
		}
		if (x.Identity == "alice") != (c.text == "alice") {
			t.Errorf("request %d is %q's", i, x.Identity)
		}
	}
	if v.checked != 3 {
		t.Errorf("checked %d times", v.checked)
	}
}
