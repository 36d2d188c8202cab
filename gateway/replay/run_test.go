package replay

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/gateway/access"
	"weir/gateway/policy"
	"weir/ratelimit"
	"weir/ratelimit/local"

	"pgregory.net/rapid"
)

// fieldsOf are a request's in tests.
type fieldsOf map[string]string

func (f fieldsOf) At(name string, i int) (string, bool) {
	v, ok := f[name]
	return v, ok && i == 0
}

// ran is a request of a run.
type ran struct {
	x     policy.Exchange
	begun int64
	o     policy.Outcome
	ends  int64
	sent  int64
	r     access.Record
}

// ends are what ends, the first one first.
type ends []*ran

func (r *ran) before(other *ran) bool { return r.ends < other.ends }

// runRules are rules of all algorithms and units, by routes, plans and consumers.
func runRules(t *rapid.T) policy.Config {
	rate := func(label string) ratelimit.Rate {
		return ratelimit.Rate{Count: rapid.Uint64Range(1, 6).Draw(t, label), Per: rapid.SampledFrom([]time.Duration{time.Second, 7 * time.Second}).Draw(t, label+" per")}
	}
	parts := func(texts ...string) (all []policy.KeyPart) {
		for _, text := range texts {
			p, err := policy.ParseKeyPart(text)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		return all
	}
	return policy.Config{
		Policies: []policy.Policy{
			{Quota: ratelimit.Quota{Name: "gcra", Rate: rate("gcra")}},
			{Quota: ratelimit.Quota{Name: "counter", Algorithm: ratelimit.AlgorithmCounter, Rate: rate("counter")}, Key: parts("identity", "route"), Missing: policy.MissingAddress},
			{Quota: ratelimit.Quota{Name: "log", Algorithm: ratelimit.AlgorithmLog, Rate: rate("log")}, Key: parts("global")},
			{Quota: ratelimit.Quota{Name: "bytes", Unit: ratelimit.UnitContentBytes, Bytes: ratelimit.ByteRate{Bytes: 3000, Per: time.Second}}, Key: parts("identity"), Missing: policy.MissingSkip},
			{Quota: ratelimit.Quota{Name: "at-once", Unit: ratelimit.UnitConcurrentRequests, Burst: 2}, Key: parts("address/24/48")},
			{Quota: ratelimit.Quota{Name: "shadow", Rate: ratelimit.Rate{Count: 1, Per: time.Hour}}, Shadow: true},
		},
		Plans:         []policy.Plan{{Name: "free", Policies: []string{"counter", "bytes", "shadow"}}, {Name: "nobody", Policies: []string{"gcra", "log"}}},
		AnonymousPlan: "nobody", DefaultPlan: "free",
		Consumers: []policy.Consumer{{Name: "shop", Plan: "free", Keys: [][32]byte{policy.SumKey("key of shop")}}, {Name: "mill", Keys: [][32]byte{policy.SumKey("key of mill")}}},
		Routes: []policy.Route{
			{Name: "api", Path: "/api", Upstream: "u", Policies: []string{"gcra", "at-once"}, Auth: policy.AuthOptional, Cost: 2, MaxBody: 5000},
			{Name: "site", Path: "/site", Hosts: []string{"example.com"}, Upstream: "u", Policies: []string{"log"}, Auth: policy.AuthRequired},
			{Name: "open", Path: "/open", Upstream: "u", Auth: policy.AuthNone},
		},
	}
}

// TestReplayingTheLogOfARunDecidesTheSame: requests go through the gateway's rules, their lines through its own access log, and a
// replay of that by the same rules decides about each as the run did.
func TestReplayingTheLogOfARunDecidesTheSame(t *testing.T) {
	limited := 0
	rapid.Check(t, func(t *rapid.T) {
		cfg := runRules(t)
		text, want := runOf(t, cfg)
		candidate := cfg.Policies[rapid.IntRange(0, 4).Draw(t, "candidate")]
		r, err := newReplay(Config{Rules: cfg, Candidate: candidate, Window: 10 * time.Minute}, []Source{{"weir.log", strings.NewReader(text)}})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]policy.Outcome{}
		r.each = func(e *entry, o, live policy.Outcome) {
			if live != want[e.path] {
				t.Errorf("%s: the log says %v, want %v", e.path, live, want[e.path])
			}
			got[e.path] = o
		}
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		asked := 0
		for path, o := range want {
			if o != policy.Admitted && o != policy.Limited {
				continue // no quota was asked
			}
			asked++
			if got[path] != o {
				t.Errorf("%s: %v, want %v", path, got[path], o)
			}
			if o == policy.Limited {
				limited++
			}
		}
		if asked == 0 {
			return
		}
		report, err := r.report()
		if err != nil {
			t.Fatal(err)
		}
		g := report.Against
		if g.OnlyLive+g.OnlyCandidate+g.Unknown != 0 || report.Requests != uint64(asked) || report.Bad != 0 || len(g.Changed) != 0 {
			t.Errorf("%d were asked about: %+v, %+v", asked, report, g)
		}
	})
	if limited == 0 {
		t.Error("no run limits anybody")
	}
}

// runOf runs random requests, each with a path of its own, and is their log.
func runOf(t *rapid.T, cfg policy.Config) (text string, want map[string]policy.Outcome) {
	store, err := local.New(local.Config{Clients: 4096})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := policy.New(cfg, policy.Deps{Local: store, Flight: &policy.Flight{}})
	if err != nil {
		t.Fatal(err)
	}
	log, err := access.NewLog(access.LogConfig{Sample: 1, Refused: true, Failed: true})
	if err != nil {
		t.Fatal(err)
	}
	want = map[string]policy.Outcome{}
	var going ends
	now := at("2026-01-02T03:04:05Z")
	base := at("2026-01-01T00:00:00Z") // as a replay has it, for the windows of the counter
	ticks := func(at int64) uint64 { return uint64(at-base) * ratelimit.TicksPerNano }
	land := func(until int64) {
		for len(going) > 0 && going[0].ends <= until {
			r := pop(&going)
			r.x.End(ticks(r.ends), r.r.Received, r.sent)
			r.r.Sent, r.r.Total = r.sent, time.Duration(r.ends-r.begun)
			log.Observe(&r.r)
		}
	}
	for i := range rapid.IntRange(1, 150).Draw(t, "requests") {
		now += 2*int64(rapid.IntRange(0, 400e6).Draw(t, "ns")) + 2
		land(now)
		r := &ran{begun: now, ends: now + 2*int64(rapid.IntRange(0, 2e9).Draw(t, "took")) + 1, sent: int64(rapid.IntRange(0, 2000).Draw(t, "sent"))}
		host := rapid.SampledFrom([]string{"example.com", "www.example.com"}).Draw(t, "host")
		path := fmt.Sprintf("%s/%d", rapid.SampledFrom([]string{"/api", "/site", "/open", "/nowhere"}).Draw(t, "route"), i)
		f := fieldsOf{}
		if key := rapid.SampledFrom([]string{"", "key of shop", "key of mill", "wrong"}).Draw(t, "key"); key != "" {
			f["X-Api-Key"] = key
		}
		q := &policy.Request{
			Method: "GET", Host: host, Path: path, Fields: f, ContentLength: int64(rapid.IntRange(0, 6000).Draw(t, "body")),
			Peer: netip.AddrFrom4([4]byte{192, 0, byte(rapid.IntRange(1, 2).Draw(t, "net")), byte(rapid.IntRange(1, 2).Draw(t, "host"))}),
		}
		r.o = rules.Begin(ticks(now), q, &r.x)
		want[path] = r.o
		r.r = access.Record{
			Begun: time.Unix(0, now), Outcome: r.o, Status: r.o.Status(), Method: "GET", Host: host, Path: path, Client: r.x.Client, Identity: r.x.Identity, Received: q.ContentLength,
		}
		if r.o == policy.Admitted {
			push(&going, r)
			continue
		}
		log.Observe(&r.r)
	}
	land(now + 1e15)
	var out bytes.Buffer
	done := make(chan struct{})
	close(done)
	log.Run(done, &out)
	return out.String(), want
}
