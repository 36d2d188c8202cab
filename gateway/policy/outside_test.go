package policy

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"weir/token"
)

// TestAValueHasTheKeyOfARequestWithIt is what budgets are shared by.
func TestAValueHasTheKeyOfARequestWithIt(t *testing.T) {
	x := &Exchange{
		Client: netip.MustParseAddr("2001:db8:1:2:3:4:5:6"), Identity: "shop", Claims: &token.Claims{},
		Route: &Route{Name: "api"}, request: get("/", "User-Agent", "curl"),
	}
	for _, row := range []struct{ part, value string }{
		{"address", "2001:db8:1:2:3:4:5:6"},
		{"address", "[2001:db8:1:2:ffff::1]:443"},
		{"address", "2001:db8:1:2::/64"},
		{"address/24/48", "2001:db8:1:ffff::"},
		{"identity", "shop"},
		{"header:user-agent", "curl"},
		{"route", "api"},
		{"global", "whatever"},
	} {
		p := key(t, row.part)[0]
		want, ok := p.appendTo([]byte("a"), x)
		if got := p.AppendValue([]byte("a"), row.value); !ok || !bytes.Equal(got, want) {
			t.Errorf("%s of %q: %x: want %x", row.part, row.value, got, want)
		}
	}
}

func TestWhatIsNoAddressIsOneClientThatNoAddressIs(t *testing.T) {
	p := key(t, "address")[0]
	one := p.AppendValue(nil, "nonsense")
	for _, text := range []string{"", "1.2.3", "1.2.3.4.5", "::1%", "10.0.0.0/99"} {
		if got := p.AppendValue(nil, text); !bytes.Equal(got, one) {
			t.Errorf("%q: %x: want %x", text, got, one)
		}
	}
	for _, text := range []string{"0.0.0.0", "::", "10.0.0.0/8", "1.2.3.4:80"} {
		if got := p.AppendValue(nil, text); bytes.Equal(got, one) {
			t.Errorf("%q is as what is no address", text)
		}
	}
	if got, want := p.AppendValue(nil, "10.0.0.1/8"), p.AppendValue(nil, "::ffff:10.0.0.1"); !bytes.Equal(got, want) {
		t.Errorf("a prefix: %x: want its first address's %x", got, want)
	}
}

func TestAPolicyIsHadByItsName(t *testing.T) {
	r := rules(t, Config{Policies: []Policy{{Quota: quota("burst", 5, time.Second), Shadow: true}}}, Deps{})
	p, limit, ok := r.Policy("burst")
	if !ok || limit == nil || limit.Count() != 5 || !p.Shadow || len(p.Key) != 1 || p.Key[0].String() != "address" {
		t.Errorf("burst is %+v, %v, %v", p, limit, ok)
	}
	if _, _, ok := r.Policy("other"); ok {
		t.Error("there is a policy that there is not")
	}
}
