package fields

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"weir/ratelimit"

	"github.com/dunglas/httpsfv"
	"pgregory.net/rapid"
)

func limit(t rapid.TB, q ratelimit.Quota) *ratelimit.Limit {
	t.Helper()
	l, err := q.Compile()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return l
}

func TestFieldsAsTheDraftWritesThem(t *testing.T) {
	burst := limit(t, ratelimit.Quota{Name: "burst", Rate: ratelimit.Rate{Count: 100, Per: time.Minute}})
	bytes := limit(t, ratelimit.Quota{Name: "bytes", Unit: ratelimit.UnitContentBytes, Bytes: ratelimit.ByteRate{Bytes: 1_000_000, Per: time.Second}})
	atOnce := limit(t, ratelimit.Quota{Name: `at "once"`, Unit: ratelimit.UnitConcurrentRequests, Burst: 5})
	var policy, state []byte
	decisions := []ratelimit.Decision{
		{Allowed: true, Remaining: 50, Reset: 29*time.Second + 1},
		{Remaining: 0, Reset: time.Millisecond, RetryAfter: time.Millisecond},
		{Allowed: true, Remaining: 5},
	}
	for i, l := range []*ratelimit.Limit{burst, bytes, atOnce} {
		policy, state = AppendPolicy(policy, l), AppendLimit(state, l, decisions[i])
	}
	if want := `"burst";q=100;w=60, "bytes";q=1000000;w=1;qu="content-bytes", "at \"once\"";q=5;qu="concurrent-requests"`; string(policy) != want {
		t.Errorf("policy %s, want %s", policy, want)
	}
	if want := `"burst";r=50;t=30, "bytes";r=0;t=1, "at \"once\"";r=5`; string(state) != want {
		t.Errorf("state %s, want %s", state, want)
	}
	if got, want := string(AppendOld(nil, burst, decisions[0])), "X-RateLimit-Limit: 100\r\nX-RateLimit-Remaining: 50\r\nX-RateLimit-Reset: 30\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	checks := []ratelimit.Check{{Limit: burst}, {Limit: bytes}, {Limit: atOnce, Shadow: true}}
	decisions[2].Allowed = false
	want := `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"The quota of this client is used up","status":429,"violated-policies":["bytes"]}`
	if got := AppendProblem(nil, QuotaExceeded, 429, checks, decisions); string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestAnyNameIsReadBack by a parser of structured fields, and by one of JSON.
func TestAnyNameIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[ -~]{1,20}`).Draw(t, "name")
		if err := CheckName(name); err != nil {
			t.Fatal(err)
		}
		count := rapid.Uint64Range(1, 1_000_000).Draw(t, "count")
		l := limit(t, ratelimit.Quota{Name: name, Algorithm: ratelimit.AlgorithmCounter, Rate: ratelimit.Rate{Count: count, Per: time.Hour}})
		d := ratelimit.Decision{Remaining: rapid.Uint64().Draw(t, "remaining"), Reset: time.Duration(rapid.Int64Min(1).Draw(t, "reset"))}
		field := AppendLimit(AppendPolicy(nil, l), l, d)
		list, err := httpsfv.UnmarshalList([]string{string(field)})
		if err != nil || len(list) != 2 {
			t.Fatalf("%s: %v", field, err)
		}
		param := func(i int, key string) any {
			item := list[i].(httpsfv.Item) //nolint:forcetypeassert // a test's
			if item.Value != name {
				t.Fatalf("%s: %v", field, item.Value)
			}
			v, _ := item.Params.Get(key)
			return v
		}
		if param(0, "q") != int64(count) || param(0, "w") != int64(3600) || param(1, "r") != int64(min(d.Remaining, maxInteger)) { //nolint:gosec // bounded
			t.Fatalf("%s", field)
		}
		if s, ok := param(1, "t").(int64); !ok || s < 1 || float64(s) < d.Reset.Seconds() && s != maxInteger || float64(s) > d.Reset.Seconds()+1 && d.Reset != math.MaxInt64 {
			t.Fatalf("%s, all is there after %v", field, d.Reset)
		}
		var problem struct {
			Status   int      `json:"status"`
			Violated []string `json:"violated-policies"`
		}
		body := AppendProblem(nil, AbnormalUsageDetected, 403, []ratelimit.Check{{Limit: l}, {Limit: l}}, []ratelimit.Decision{{}, {}})
		if err := json.Unmarshal(body, &problem); err != nil || problem.Status != 403 || len(problem.Violated) != 2 || problem.Violated[1] != name {
			t.Fatalf("%s: %v", body, err)
		}
	})
}

func TestRetryAfterIsNeverTooSoonAndSpread(t *testing.T) {
	for _, tt := range []struct {
		wait   time.Duration
		random uint32
		want   string
	}{
		{1, 0, "1"},
		{time.Second, 0, "1"},
		{time.Second + 1, 0, "2"},
		{time.Second, math.MaxUint32, "2"},
		{100 * time.Second, 0, "100"},
		{100 * time.Second, math.MaxUint32, "110"},
		{100 * time.Second, 1 << 31, "105"},
		{0, 1, ""},
		{ratelimit.Never, 1, ""},
	} {
		got, ok := AppendRetryAfter(nil, tt.wait, tt.random)
		if string(got) != tt.want || ok != (tt.want != "") {
			t.Errorf("%v, random %d: %q, %v, want %q", tt.wait, tt.random, got, ok, tt.want)
		}
	}
}

func TestNamesThatCannotBeToldAreRefused(t *testing.T) {
	for _, name := range []string{"", "tab\t", "line\r\nSet-Cookie: x", "naïve", "\x7f"} {
		if err := CheckName(name); !errors.Is(err, ErrBadName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestFieldsDoNotAllocate(t *testing.T) {
	l := limit(t, ratelimit.Quota{Name: "burst", Rate: ratelimit.Rate{Count: 100, Per: time.Minute}})
	checks, decisions := []ratelimit.Check{{Limit: l}}, []ratelimit.Decision{{Reset: time.Second, RetryAfter: time.Second}}
	b := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		b = AppendLimit(AppendPolicy(b[:0], l), l, decisions[0])
		b, _ = AppendRetryAfter(b, decisions[0].RetryAfter, 7)
		b = AppendProblem(AppendOld(b, l, decisions[0]), QuotaExceeded, 429, checks, decisions)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
