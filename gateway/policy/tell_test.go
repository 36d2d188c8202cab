package policy

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"weir/ratelimit"
	"weir/token"

	"github.com/dunglas/httpsfv"
)

// lines reads what a head says.
func lines(t *testing.T, b []byte) http.Header {
	t.Helper()
	h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(string(b) + "\r\n"))).ReadMIMEHeader()
	if err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	return http.Header(h)
}

func TestAnswersTellEachPolicy(t *testing.T) {
	atOnce := ratelimit.Quota{Name: "at once", Unit: ratelimit.UnitConcurrentRequests, Burst: 20}
	policies := []Policy{
		{Quota: quota("burst", 10, time.Second)},
		{Quota: quota(`da"ily`, 100, time.Hour)},
		{Quota: quota("hidden", 5, time.Second), Shadow: true},
		{Quota: atOnce},
		{Quota: quota("tenant", 50, time.Minute), Key: key(t, "header:X-Tenant"), Missing: MissingSkip},
	}
	names := []string{"burst", `da"ily`, "hidden", "at once", "tenant"}
	for tell, want := range map[Tell]int{TellDraft: 2, TellBoth: 5, TellNone: 0} {
		routes := all(names...)
		routes[0].Tell = tell
		r := rules(t, Config{Policies: policies, Routes: routes}, Deps{})
		for _, tenant := range []bool{true, false} {
			q, members := get("/"), 3
			if tenant {
				q, members = get("/", "X-Tenant", "a"), 4
			}
			o, x := begin(r, start, q)
			if o != Admitted {
				t.Fatal(o)
			}
			h := lines(t, x.AppendTold(nil))
			if len(h) != want {
				t.Errorf("%v: %v", tell, h)
			}
			for _, name := range []string{"Ratelimit-Policy", "Ratelimit"} {
				if tell == TellNone {
					continue
				}
				list, err := httpsfv.UnmarshalList(h[name])
				if err != nil || len(list) != members {
					t.Errorf("%s: %q: %v", name, h[name], err)
				}
			}
			x.End(start, 0, 0)
		}
	}
}

func TestTheOlderFieldsAreOfThePolicyThatHasTheLeastLeft(t *testing.T) {
	routes := all("a", "b")
	routes[0].Tell = TellBoth
	r := rules(t, Config{Policies: []Policy{{Quota: quota("a", 1000, time.Second)}, {Quota: quota("b", 4, time.Minute)}}, Routes: routes}, Deps{})
	_, x := begin(r, start, get("/"))
	h := lines(t, x.AppendTold(nil))
	if h.Get("X-Ratelimit-Limit") != "4" || h.Get("X-Ratelimit-Remaining") != "3" {
		t.Error(h)
	}
}

func TestARefusalSaysWhatToDo(t *testing.T) {
	r := rules(t, Config{
		Policies:  []Policy{{Quota: quota("q", 1, time.Minute)}},
		Consumers: []Consumer{{Name: "shop", Keys: [][32]byte{SumKey("k")}}},
		Routes:    []Route{{Name: "a", Path: "/a", Upstream: "u", Policies: []string{"q"}, Auth: AuthOptional, MaxBody: 10}, {Name: "r", Path: "/r", Upstream: "u", Auth: AuthRequired}},
	}, Deps{Tokens: &tokens{}})
	post := get("/a")
	post.ContentLength = 11
	begin(r, start, get("/a"))
	for _, c := range []struct {
		q       *Request
		outcome Outcome
		fields  map[string]string
		detail  string
	}{
		{get("/a"), Limited, map[string]string{"Retry-After": "60"}, ""},
		{get("/nothing"), NoRoute, nil, "no route"},
		{get("/a/.."), BadPath, nil, "two ways"},
		{post, TooLarge, nil, "longer than 10 bytes"},
		{get("/r"), Unauthorized, map[string]string{"Www-Authenticate": "Bearer"}, "a credential is missing"},
		{get("/r", "X-Api-Key", "z"), Unauthorized, map[string]string{"Www-Authenticate": `Bearer error="invalid_token"`}, "not known"},
		{get("/r", "Authorization", "Bearer z"), Unauthorized, map[string]string{"Www-Authenticate": `Bearer error="invalid_token"`}, token.ErrForged.Error()},
	} {
		o, x := begin(r, start, c.q)
		if o != c.outcome {
			t.Errorf("%s: %v, want %v", c.q.Path, o, c.outcome)
			continue
		}
		h := lines(t, x.AppendRefusal(nil, o, 0))
		for name, want := range c.fields {
			if h.Get(name) != want {
				t.Errorf("%v: %s: %q, want %q", o, name, h.Get(name), want)
			}
		}
		if len(h) != len(c.fields) {
			t.Errorf("%v: %v", o, h)
		}
		var problem struct {
			Type, Title, Detail string
			Status              int
		}
		body := x.AppendBody(nil, o)
		if err := json.Unmarshal(body, &problem); err != nil || problem.Status != o.Status() || problem.Title == "" || !strings.Contains(problem.Detail, c.detail) {
			t.Errorf("%v: %s: %v", o, body, err)
		}
	}
}

func TestADetailNeverHasMoreOfATokenThanItsError(t *testing.T) {
	x := &Exchange{Err: fmt.Errorf("%w: secret", token.ErrForged)}
	if body := string(x.AppendBody(nil, Unauthorized)); strings.Contains(body, "secret") {
		t.Error(body)
	}
	if got := token.Public(errors.New("other")); got != nil {
		t.Error(got)
	}
}

func TestOutcomesHaveNamesAndStatuses(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range Outcomes() {
		if seen[o.String()] || strings.Contains(o.String(), "unknown") || http.StatusText(o.Status()) == "" {
			t.Errorf("%d: %s, %d", o, o, o.Status())
		}
		seen[o.String()] = true
	}
	if len(outcomeNames) != int(outcomes) || len(outcomeStatus) != int(outcomes) {
		t.Error("an outcome without a name or a status")
	}
}
