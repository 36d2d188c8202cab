package replay

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"weir/gateway/policy"
	"weir/internal/golden"
	"weir/ratelimit"
)

func quota(name string, count uint64, per time.Duration) ratelimit.Quota {
	return ratelimit.Quota{Name: name, Rate: ratelimit.Rate{Count: count, Per: per}}
}

func logOf(lines ...string) Source {
	return Source{"x.log", strings.NewReader(strings.Join(lines, "\n") + "\n")}
}

// get is a line of a client at a second, with more fields.
func get(client string, second float64, more string) string {
	return fmt.Sprintf(`{"begun":%f,"client":"192.0.2.%s","method":"GET","path":"/api/x"%s}`, 1767323040+second, client, more)
}

func run(t *testing.T, cfg Config, logs ...Source) *Report {
	t.Helper()
	got, err := Run(t.Context(), cfg, logs...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// routes are two routes, a plan, and a consumer.
func routes() policy.Config {
	return policy.Config{
		Policies: []policy.Policy{
			{Quota: quota("live", 2, time.Hour)},
			{Quota: quota("other", 100, time.Hour)},
			{Quota: quota("trial", 1, time.Hour), Shadow: true, Shared: true},
		},
		Plans: []policy.Plan{{Name: "gold", Policies: []string{"other"}}}, Consumers: []policy.Consumer{{Name: "shop", Plan: "gold"}},
		Routes: []policy.Route{{Name: "api", Path: "/api", Upstream: "u", Policies: []string{"live", "trial"}}, {Name: "site", Path: "/site", Upstream: "u", Policies: []string{"other"}, MaxBody: 1}},
	}
}

func TestReportsOfSmallLogs(t *testing.T) {
	rules := routes()
	for name, cfg := range map[string]Config{
		"combined": {Candidate: policy.Policy{Quota: quota("candidate", 2, 10*time.Second), Key: keysOf(t, "address/32/64")}, Window: 10 * time.Second},
		"caddy":    {Candidate: policy.Policy{Quota: ratelimit.Quota{Name: "candidate", Unit: ratelimit.UnitConcurrentRequests, Burst: 2}, Key: keysOf(t, "address/24/56", "header:User-Agent")}, Window: 10 * time.Second},
		"weir":     {Rules: rules, Candidate: policy.Policy{Quota: quota("candidate", 5, time.Minute), Key: keysOf(t, "identity")}, Beside: &rules.Policies[0], Window: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", name+".log"))
			if err != nil {
				t.Fatal(err)
			}
			got := run(t, cfg, Source{name + ".log", bytes.NewReader(text)})
			out, err := json.MarshalIndent(got, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, filepath.Join("testdata", name+".json"), string(out)+"\n")
		})
	}
}

func TestWhereTheCandidateHolds(t *testing.T) {
	lines := func() Source {
		var all []string
		for i := range 4 {
			all = append(all, get("1", float64(i), ""), strings.Replace(get("2", float64(i)+.5, `,"received_bytes":7`), "/api", "/site", 1)) // which takes less: the log knows better
		}
		return logOf(all...)
	}
	inline := policy.Policy{Quota: quota("candidate", 3, time.Hour)}
	rules := routes()
	live, trial := rules.Policies[0], rules.Policies[2]
	off := rules
	off.Routes = []policy.Route{{Name: "all", Upstream: "u"}}
	for _, tt := range []struct {
		name          string
		cfg           Config
		held, limited uint64
		against       [4]uint64 // both, only live, only candidate, neither; none without
		policies      int
	}{
		{"without routes, for all", Config{Candidate: inline}, 8, 2, [4]uint64{}, 1},
		{"on all routes, beside the policies there, where nothing names it", Config{Rules: rules, Candidate: inline}, 8, 3, [4]uint64{}, 3},
		{"alone on all routes", Config{Rules: rules, Candidate: inline, Alone: true}, 8, 2, [4]uint64{}, 1},
		{"in the place of what it is compared with", Config{Rules: rules, Candidate: inline, Beside: &live}, 4, 1, [4]uint64{1, 1, 0, 6}, 2},
		{"where its name is, though it is in shadow there", Config{Rules: rules, Candidate: trial, Beside: &live}, 4, 3, [4]uint64{2, 0, 1, 5}, 2},
		{"compared with one that is named nowhere", Config{Rules: rules, Candidate: live, Beside: &inline}, 4, 2, [4]uint64{1, 0, 1, 6}, 2},
		{"on a route without any", Config{Rules: off, Candidate: live}, 8, 4, [4]uint64{}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, tt.cfg, lines())
			var against [4]uint64
			if g := got.Against; g != nil {
				against = [4]uint64{g.Both, g.OnlyLive, g.OnlyCandidate, g.Neither}
			}
			if got.Held != tt.held || got.Limited != tt.limited || against != tt.against || len(got.Policies) != tt.policies || got.Requests != 8 {
				t.Errorf("held %d, limited %d, against %v, policies %+v", got.Held, got.Limited, against, got.Policies)
			}
		})
	}
}

func TestIdentitiesHaveTheirPlans(t *testing.T) {
	rules := routes()
	rules.Plans[0].Policies = []string{"trial"}
	rules.Routes = []policy.Route{{Name: "all", Upstream: "u"}}
	got := run(t, Config{Rules: rules, Candidate: rules.Policies[2]}, logOf(
		get("1", 0, `,"identity":"shop"`), get("1", 1, `,"identity":"shop"`), get("1", 2, `,"identity":"-"`), get("1", 3, `,"identity":"mill"`),
	))
	if got.Held != 2 || got.Limited != 1 {
		t.Errorf("%+v", got)
	}
}

func TestProxiesThatAreTrustedSayWhoTheClientIs(t *testing.T) {
	rules := policy.Config{TrustedProxies: nil}
	line := func(second float64) string {
		return get("1", second, fmt.Sprintf(`,"xff":"203.0.113.%d"`, int(second)))
	}
	cfg := Config{Rules: rules, Candidate: policy.Policy{Quota: quota("candidate", 1, time.Hour)}, Fields: map[string]string{"forwarded": "xff"}}
	if got := run(t, cfg, logOf(line(0), line(1))); got.Limited != 1 {
		t.Errorf("of nobody who is trusted: %+v", got)
	}
	cfg.Rules.TrustedProxies = append(cfg.Rules.TrustedProxies, parsePrefix(t, "192.0.2.0/24"))
	if got := run(t, cfg, logOf(line(0), line(1))); got.Limited != 0 || got.Clients != 2 {
		t.Errorf("of a proxy that is trusted: %+v", got)
	}
}

func TestConcurrentRequestsAndBytesAreGivenBackWhenRequestsEnd(t *testing.T) {
	one := policy.Policy{Quota: ratelimit.Quota{Name: "candidate", Unit: ratelimit.UnitConcurrentRequests, Burst: 1}}
	// The first is under way from 0 to 2; what was refused holds nothing.
	lines := []string{get("1", 0, `,"seconds":2`), get("1", 1, `,"seconds":9`), get("1", 2, `,"seconds":1`), get("1", 2.5, `,"seconds":1`), get("1", 3, `,"seconds":0`)}
	if got := run(t, Config{Candidate: one}, logOf(lines...)); got.Limited != 2 {
		t.Errorf("at once: %+v", got)
	}
	bytes := policy.Policy{Quota: ratelimit.Quota{Name: "candidate", Unit: ratelimit.UnitContentBytes, Bytes: ratelimit.ByteRate{Bytes: 2000, Per: time.Hour}}}
	lines = []string{get("1", 0, `,"seconds":2,"sent":4000`), get("1", 1, `,"sent":1`), get("1", 3, ``), get("2", 4, `,"received":1200`), get("2", 5, `,"received":1200`)}
	cfg := Config{Candidate: bytes, Fields: map[string]string{"sent": "sent", "received": "received"}}
	if got := run(t, cfg, logOf(lines...)); got.Limited != 2 { // the third, since the first has ended, and the last
		t.Errorf("bytes: %+v", got)
	}
}

func TestTooManyUnderWayEndEarly(t *testing.T) {
	var b strings.Builder
	for i := range maxFlights + 10 {
		fmt.Fprintf(&b, `{"begun":%d.%06d,"client":"10.0.%d.%d","path":"/","seconds":1000}`+"\n", 1767323040, i, i>>8&255, i&255)
	}
	one := policy.Policy{Quota: ratelimit.Quota{Name: "candidate", Unit: ratelimit.UnitConcurrentRequests, Burst: 1}}
	got := run(t, Config{Candidate: one}, Source{"x.log", strings.NewReader(b.String())})
	if got.Requests != maxFlights+10 || got.Limited != 0 || !slices.ContainsFunc(got.Warnings, func(w string) bool { return strings.Contains(w, "10 requests were taken to have ended early") }) {
		t.Errorf("%+v", got)
	}
}

func TestLogsAreMergedByTime(t *testing.T) {
	cfg := Config{Candidate: policy.Policy{Quota: quota("candidate", 1, 10*time.Second)}}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprintln(z, get("1", 0.5, ""))
	fmt.Fprintln(z, get("1", 20, ""))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	got := run(t, cfg, logOf(get("1", 5, ""), get("1", 25, ""), get("1", 40, "")), Source{"x.log.1.gz", &packed})
	if got.Requests != 5 || got.Limited != 2 || len(got.Warnings) != 0 {
		t.Errorf("%+v", got)
	}
	first, last := time.Unix(1767323045, 0).UTC(), time.Unix(1767323065, 0).UTC()
	if c := got.Top[0]; !c.First.Equal(first) || !c.Last.Equal(last) || c.Streak != 1 {
		t.Errorf("%+v", c)
	}
}

func TestLinesOutOfOrderAreOrderedWithinTheWindow(t *testing.T) {
	lines := []string{get("1", 10.5, ""), get("1", 2, ""), get("1", 15, ""), get("1", 30, ""), get("1", 4, "")}
	for _, tt := range []struct {
		window  time.Duration
		limited uint64
		late    string
	}{
		{10 * time.Second, 2, "1 lines were more than 10s late"}, // 2, 10.5, 15, 4 at 15, 30: the third and fourth
		{time.Minute, 2, ""},                     // 2, 4, 10.5, 15, 30: the second and fourth
		{0, 3, "2 lines were more than 0s late"}, // 10.5, 2 at 10.5, 15, 30, 4 at 30: all but the first and fourth
	} {
		got := run(t, Config{Candidate: policy.Policy{Quota: quota("candidate", 1, 5*time.Second)}, Window: tt.window}, logOf(lines...))
		said := strings.Join(got.Warnings, "\n")
		if got.Requests != 5 || !strings.Contains(said, tt.late) || (tt.late == "") != (said == "") {
			t.Errorf("%v: %+v", tt.window, got)
		}
		if got.Limited != tt.limited {
			t.Errorf("%v: %d are limited, want %d", tt.window, got.Limited, tt.limited)
		}
	}
}

func TestBadLinesAreCountedAndTheFirstAreShown(t *testing.T) {
	lines := []string{get("1", 0, ""), "", strings.Repeat("x", 3*maxLineBytes), "a", "b", "c", "d", "e", get("1", 1, `,"x":"`+strings.Repeat("y", maxLineBytes-200)+`"`), get("1", 30*365*86400, ""), get("1", 2, "")}
	got := run(t, Config{Candidate: policy.Policy{Quota: quota("candidate", 1, time.Second)}, Window: time.Minute}, logOf(lines...))
	if got.Lines != 10 || got.Bad != 7 || got.Requests != 3 || len(got.BadLines) != maxBadLines {
		t.Errorf("%+v", got)
	}
	if b := got.BadLines[0]; b.Log != "x.log" || b.Line != 3 || b.Why != errLong.Error() {
		t.Errorf("%+v", b)
	}
}

func TestMemoryIsBoundedAndSaysSo(t *testing.T) {
	var lines []string
	heavy := 0
	for i := range 400 {
		client := fmt.Sprint(100 + i%100)
		if i%5 == 0 {
			client, heavy = "1", heavy+1
		}
		lines = append(lines, get(client, float64(i)/1000, ""))
	}
	cfg := Config{Candidate: policy.Policy{Quota: quota("candidate", 1, time.Hour)}, Clients: 16, Top: 1}
	got := run(t, cfg, logOf(lines...))
	if got.Exact || got.Clients != 16 || got.Requests != 400 || len(got.Top) != 1 || got.Limited != 400-81 {
		t.Fatalf("%+v", got)
	}
	c := got.Top[0]
	if c.Client != "192.0.2.1" || c.Limited > uint64(heavy-1) || c.Limited+c.Missed < uint64(heavy-1) {
		t.Errorf("%+v, want %d refusals", c, heavy-1)
	}
}

func TestWhatALogCannotSayIsAnError(t *testing.T) {
	one := policy.Policy{Quota: quota("candidate", 1, time.Hour)}
	with := func(key string) Config {
		return Config{Candidate: policy.Policy{Quota: one.Quota, Key: keysOf(t, key)}}
	}
	tenant := with("header:X-Tenant")
	tenant.Keys = map[string]string{"header:X-Tenant": "tenant"}
	failed := errors.New("the disk is gone")
	done, cancel := context.WithCancel(t.Context())
	cancel()
	unknown := routes()
	unknown.Routes[0].Policies = []string{"nobody"}
	for _, tt := range []struct {
		name string
		ctx  context.Context
		cfg  Config
		logs []Source
		is   error
		says string
	}{
		{"nothing is a request", t.Context(), Config{Candidate: one}, []Source{logOf("a", "b")}, ErrNoLine, "x.log, line 1"},
		{"an empty log", t.Context(), Config{Candidate: one}, []Source{logOf()}, ErrNoLine, "empty"},
		{"a header that logs do not have", t.Context(), with("header:X-Tenant"), []Source{logOf(get("1", 0, ""))}, ErrNoKey, "--key header:X-Tenant=FIELD"},
		{"a claim that logs do not have", t.Context(), with("claim:org"), []Source{logOf(get("1", 0, ""))}, ErrNoKey, "--key claim:org=FIELD"},
		{"a field that no line has", t.Context(), tenant, []Source{logOf(get("1", 0, ""))}, ErrNoKey, "no line has header:X-Tenant"},
		{"an agent that the format does not have", t.Context(), with("header:User-Agent"), []Source{logOf(`192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 1`)}, ErrNoKey, "no line has"},
		{"no durations", t.Context(), Config{Candidate: policy.Policy{Quota: ratelimit.Quota{Name: "c", Unit: ratelimit.UnitConcurrentRequests, Burst: 1}}}, []Source{logOf(get("1", 0, ""))}, ErrNoSeconds, "--fields seconds=FIELD"},
		{"no gzip", t.Context(), Config{Candidate: one}, []Source{{"x.gz", strings.NewReader("x")}}, nil, "no gzip"},
		{"a reader that fails", t.Context(), Config{Candidate: one}, []Source{{"x.log", iotest.ErrReader(failed)}}, failed, "read x.log, line 1"},
		{"an end", done, Config{Candidate: one}, []Source{logOf(get("1", 0, ""))}, context.Canceled, ""},
		{"no log", t.Context(), Config{Candidate: one}, nil, ErrBadConfig, "0 logs"},
		{"bad bounds", t.Context(), Config{Candidate: one, Window: time.Hour, Clients: 1, Top: -1, Statuses: []int{9}, Fields: map[string]string{"x": "y"}, Keys: map[string]string{"route": "z"}}, nil, ErrBadConfig, "want header:NAME or claim:NAME"},
		{"no quota", t.Context(), Config{}, []Source{logOf(get("1", 0, ""))}, nil, "policies"},
		{"a mistake in the rules", t.Context(), Config{Rules: unknown, Candidate: one}, []Source{logOf(get("1", 0, ""))}, nil, `there is no policy "nobody"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Run(tt.ctx, tt.cfg, tt.logs...)
			if got != nil || err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestWhatIsToBeTakenWithCareIsSaid(t *testing.T) {
	rules := routes()
	rules.Routes = rules.Routes[1:]
	identity := policy.Policy{Quota: quota("candidate", 1, time.Hour), Key: keysOf(t, "identity")}
	for says, cfg := range map[string]Config{
		"whole seconds":             {Candidate: policy.Policy{Quota: quota("candidate", 1, time.Hour)}},
		"--fields identity=FIELD":   {Candidate: identity},
		"the candidate held for no": {Rules: rules, Candidate: policy.Policy{Quota: quota("candidate", 1, time.Hour)}},
	} {
		got := run(t, cfg, logOf(get("1", 0, "")))
		if !strings.Contains(strings.Join(got.Warnings, "\n"), says) {
			t.Errorf("%q is not said: %v", says, got.Warnings)
		}
	}
}

// BenchmarkRun is of lines of the combined format, and of nginx's JSON.
func BenchmarkRun(b *testing.B) {
	const lines = 20_000
	cfg := Config{Candidate: policy.Policy{Quota: quota("candidate", 10, time.Minute)}, Window: 10 * time.Second, Clients: 1024}
	for name, format := range map[string]string{
		"combined": `10.0.%d.%d - - [02/Jan/2026:03:%02d:%02d +0000] "GET /api/items/%d?q=1 HTTP/1.1" 200 512 "https://example.com/" "Mozilla/5.0 (X11; Linux x86_64)"` + "\n",
		"json":     `{"remote_addr":"10.0.%d.%d","time":"2026-01-02T03:%02d:%02dZ","remote_user":"","request":"GET /api/items/%d?q=1 HTTP/1.1","status":"200","body_bytes_sent":"512","request_time":"0.012","http_host":"example.com","http_referer":"","http_user_agent":"Mozilla/5.0 (X11; Linux x86_64)"}` + "\n",
	} {
		b.Run(name, func(b *testing.B) {
			var text strings.Builder
			for i := range lines {
				fmt.Fprintf(&text, format, i%7, i%251, i/600%60, i/10%60, i)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Run(b.Context(), cfg, Source{"x.log", strings.NewReader(text.String())}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*lines/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
