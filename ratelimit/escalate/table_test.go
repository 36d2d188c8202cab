package escalate

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func table(tb testing.TB, cfg Config) *Table {
	tb.Helper()
	t, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

const (
	second = uint64(time.Second)
	start  = 1000 * second
)

// refusals are those of one client, one a step, and which of them escalated it.
func refusals(t *Table, from, step uint64, n int) (escalated []int, until uint64) {
	for i := range n {
		if u, yes := t.Refused(from+uint64(i)*step, []byte("a"), "api"); yes { //nolint:gosec // positive
			escalated, until = append(escalated, i), u
		}
	}
	return escalated, until
}

func TestClientIsEscalatedAtItsThresholdWithinTheWindow(t *testing.T) {
	cfg := Config{Threshold: 5, Window: 10 * time.Second, Hold: time.Minute}
	for _, tt := range []struct {
		name string
		step uint64
		n    int
		want string
	}{
		{"all at once", 0, 5, "[4]"},
		{"one too few", 0, 4, "[]"},
		{"within the window to the nanosecond", 10*second/4 - 1, 5, "[4]"},
		{"the first one a window ago", 10 * second / 4, 100, "[]"},
		{"while it is escalated nothing more is said", second, 60, "[4]"},
		{"at its end it is escalated again", second, 66, "[4 64]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, _ := refusals(table(t, cfg), start, tt.step, tt.n); fmt.Sprint(got) != tt.want {
				t.Errorf("escalated by %v, want %v", got, tt.want)
			}
		})
	}
}

func TestPoliciesAndClientsAreToldApart(t *testing.T) {
	tab := table(t, Config{Threshold: 2})
	for _, c := range []struct {
		client, policy string
		want           bool
	}{{"a", "api", false}, {"a", "login", false}, {"b", "api", false}, {"a", "api", true}, {"b", "api", true}, {"a", "login", true}} {
		if _, got := tab.Refused(start, []byte(c.client), c.policy); got != c.want {
			t.Errorf("%s, %s: %v", c.client, c.policy, got)
		}
	}
}

func TestHoldsGrowAndAreForgottenByWhoIsCalm(t *testing.T) {
	cfg := Config{Threshold: 10, Window: 10 * time.Second, Hold: time.Minute, Factor: 3, MaxHold: 5 * time.Minute, CalmBelow: 5, CalmFor: time.Hour}
	tab := table(t, cfg)
	now := start
	for _, tt := range []struct {
		name string
		wait time.Duration // after the end of the one before
		few  bool          // it was refused less often than CalmBelow meanwhile, else just as often
		want time.Duration
	}{
		{"first", 0, false, time.Minute},
		{"second", 0, false, 3 * time.Minute},
		{"third, at most", 0, false, 5 * time.Minute},
		{"fourth", time.Hour - 2*time.Second, false, 5 * time.Minute},
		{"after an hour's calm", time.Hour, false, time.Minute},
		{"after an hour with few refusals", time.Hour, true, time.Minute},
	} {
		quiet := now + uint64(tt.wait) //nolint:gosec // positive
		for ; now+4*second < quiet; now += 600 * second {
			for i := range uint64(4) {
				if tt.few {
					tab.Refused(now+i*second, []byte("a"), "api")
				}
			}
		}
		now = quiet
		_, until := refusals(tab, now, 1, 10)
		if hold := time.Duration(until - now - 9); hold != tt.want { //nolint:gosec // positive
			t.Errorf("%s: held %v, want %v", tt.name, hold, tt.want)
		}
		now = until
	}
	// Who is refused CalmBelow times within a window, again and again, is not forgotten.
	for end := now + uint64(2*time.Hour); now < end; now += 600 * second {
		if got, _ := refusals(tab, now, second, 5); got != nil {
			t.Fatal("it was escalated below the threshold")
		}
	}
	if _, until := refusals(tab, now, 1, 10); until-now-9 != uint64(3*time.Minute) {
		t.Errorf("held %v", time.Duration(until-now-9)) //nolint:gosec // positive
	}
}

func TestShareSparesWhoIsMostlyAdmitted(t *testing.T) {
	for _, tt := range []struct {
		admitted int // with each refusal
		want     string
	}{{0, "[3]"}, {1, "[3]"}, {2, "[]"}} {
		tab := table(t, Config{Threshold: 4, Share: 50})
		var got []int
		for i := range 20 {
			for range tt.admitted {
				tab.Admitted([]byte("a"), "api")
				tab.Admitted([]byte("b"), "api") // who was never refused is not known
			}
			if _, yes := tab.Refused(start, []byte("a"), "api"); yes {
				got = append(got, i)
			}
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%d admitted with each refusal: escalated by %v, want %v", tt.admitted, got, tt.want)
		}
	}
}

func TestShareIsOfTheRequestsSinceTheFirstOfTheRefusals(t *testing.T) {
	for admitted, want := range map[int]bool{4: true, 5: false} { // of eight or nine
		tab := table(t, Config{Threshold: 4, Share: 50})
		one := func(requests int) (escalated bool) {
			for range requests {
				tab.Admitted([]byte("a"), "api")
			}
			_, escalated = tab.Refused(start, []byte("a"), "api")
			return escalated
		}
		one(0)
		for i, requests := range []int{100, admitted, 0, 0} { // the hundred are before the last four
			if got := one(requests); got != (want && i == 3) {
				t.Errorf("%d admitted, refusal %d: %v", admitted, i+1, got)
			}
		}
	}
}

func TestClocksOfLoopsNeedNotAgree(t *testing.T) {
	tab := table(t, Config{Threshold: 2})
	tab.Refused(start+second, []byte("a"), "api")
	if _, yes := tab.Refused(start, []byte("a"), "api"); !yes {
		t.Error("a clock that was read before another one's refusal hid that")
	}
}

// modeled is a client in the plainest words of the promise.
type modeled struct {
	times []uint64 // since it was escalated last
	until uint64
	busy  uint64
	level int
}

func (m *modeled) refused(cfg Config, now uint64) (uint64, bool) {
	in := func(times []uint64) (n int) {
		for _, t := range times {
			if now-t < uint64(cfg.Window) { //nolint:gosec // positive
				n++
			}
		}
		return n
	}
	if m.level > 0 && now >= max(m.until, m.busy)+uint64(cfg.CalmFor) { //nolint:gosec // positive
		m.level = 0
	}
	m.times = append(m.times, now)
	if in(m.times) >= cfg.CalmBelow {
		m.busy = now
	}
	if now < m.until || in(m.times) < cfg.Threshold {
		return 0, false
	}
	hold := cfg.Hold
	for range m.level {
		hold = min(hold*time.Duration(cfg.Factor), cfg.MaxHold)
	}
	m.until, m.times = now+uint64(hold), nil //nolint:gosec // positive
	m.level++
	return m.until, true
}

// TestTableDoesAsTheModel: below the threshold nobody is ever escalated, above it everybody is at once; holds
// grow by the factor to the bound, and begin anew after calm.
func TestTableDoesAsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		threshold := rapid.IntRange(1, 6).Draw(t, "threshold")
		cfg := Config{
			Threshold: threshold, Window: 10 * time.Second, Hold: time.Duration(rapid.IntRange(1, 30).Draw(t, "hold")) * time.Second,
			Factor: rapid.IntRange(1, 3).Draw(t, "factor"), MaxHold: 100 * time.Second,
			CalmBelow: rapid.IntRange(1, threshold).Draw(t, "calm below"), CalmFor: time.Duration(rapid.IntRange(1, 60).Draw(t, "calm for")) * time.Second,
		}
		tab, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		model := map[string]*modeled{}
		now := start
		for i := range rapid.IntRange(1, 200).Draw(t, "refusals") {
			now += uint64(rapid.SampledFrom([]int{0, 1, 1, 2, 5, 9, 10, 30}).Draw(t, "seconds")) * second //nolint:gosec // positive
			who := rapid.SampledFrom([]string{"a", "a", "a", "b", "c", "d"}).Draw(t, "who")
			if model[who] == nil {
				model[who] = &modeled{}
			}
			until, escalate := tab.Refused(now, []byte(who), "api")
			wantUntil, want := model[who].refused(cfg, now)
			if escalate != want || until != wantUntil {
				t.Fatalf("refusal %d, of %s at %d: %v until %d, want %v until %d", i, who, now-start, escalate, until, want, wantUntil)
			}
		}
		if s := tab.Stats(); s.Displaced != 0 {
			t.Fatalf("%+v", s)
		}
	})
}

// TestWhoIsRefusedTheMostIsKept: a botnet of many addresses, each refused once, hides nobody, and costs no memory.
func TestWhoIsRefusedTheMostIsKept(t *testing.T) {
	tab := table(t, Config{Threshold: 50, Window: 10 * time.Second, Offenders: 64})
	name := make([]byte, 0, 16)
	escalated := -1
	for i := range 10_000 {
		now := start + uint64(i)*second/1000 //nolint:gosec // positive
		for j := range 9 {                   // nine of ten refusals
			name = fmt.Appendf(name[:0], "%d", 9*i+j)
			if _, yes := tab.Refused(now, name, "api"); yes {
				t.Fatalf("%s was escalated by its first refusal", name)
			}
		}
		if _, yes := tab.Refused(now, []byte("mallory"), "api"); yes && escalated < 0 {
			escalated = i
		}
	}
	if escalated < 49 || escalated > 59 { // it may lose its place before it has any weight
		t.Errorf("escalated by its refusal %d, want 49 or little more", escalated)
	}
	known := 0
	if s := tab.Stats(); s.Displaced < 80_000 || s.Escalated < 1 {
		t.Errorf("%+v", s)
	}
	for set := range tab.sets {
		for way := range tab.sets[set] {
			if tab.sets[set][way].hash != 0 {
				known++
			}
		}
	}
	if known > 64 {
		t.Errorf("%d known", known)
	}
}

// TestNewcomerHasTimeToBeSeen: in a table full of clients of some weight, who comes next does not take its place
// at once.
func TestNewcomerHasTimeToBeSeen(t *testing.T) {
	tab := table(t, Config{Threshold: 20, Window: time.Hour, Offenders: 16})
	for i := range 400 {
		tab.Refused(start, fmt.Append(nil, "resident", i/4), "api")
	}
	for i := range 100 {
		for j := range 8 {
			tab.Refused(start, fmt.Append(nil, "once", i, j), "api")
		}
		if _, yes := tab.Refused(start, []byte("mallory"), "api"); yes {
			return
		}
	}
	t.Error("who was refused an eighth as often as all others together was not seen")
}

// TestEscalatedClientIsNotForgottenForOthers: it is refused little then, as few of its packets come through.
func TestEscalatedClientIsNotForgottenForOthers(t *testing.T) {
	tab := table(t, Config{Threshold: 20, Offenders: 16, Hold: time.Minute, Factor: 2})
	refusals(tab, start, 0, 20)
	now := start
	for i := range 6000 {
		now += second / 100
		tab.Refused(now, fmt.Append(nil, "once", i), "api")
	}
	if _, until := refusals(tab, now, 0, 20); until != now+120*second {
		t.Errorf("its second hold is %v", time.Duration(until-now)) //nolint:gosec // positive
	}
}

func TestOffendersAreKnownByNameFromHalfTheThresholdOn(t *testing.T) {
	tab := table(t, Config{Threshold: 4, Window: 10 * time.Second, Hold: time.Minute})
	long := strings.Repeat("x", 100)
	for i, client := range []string{"once", "near", "near", long, long, long, long} {
		tab.Refused(start+uint64(i), []byte(client), "api") //nolint:gosec // positive
	}
	got := map[string]Offender{}
	for _, o := range tab.Offenders(start + second) {
		got[o.Client] = o
	}
	if len(got) != 2 || got["near"].Refused != 2 || got["near"].Policy != "api" || got["near"].Until != 0 {
		t.Errorf("%+v", got)
	}
	if o := got[long[:64]]; o.Escalations != 1 || o.Until != start+6+uint64(time.Minute) || o.Refused != 0 {
		t.Errorf("%+v", o)
	}
	for _, o := range tab.Offenders(start + uint64(time.Hour)) {
		if o.Refused != 0 || o.Escalations != 0 {
			t.Errorf("an hour later: %+v", o)
		}
	}
}

func TestRefusalsOfManyLoopsAreEachCounted(t *testing.T) {
	tab := table(t, Config{Threshold: 1000, Hold: time.Minute})
	var wg sync.WaitGroup
	var mu sync.Mutex
	escalated := 0
	for loop := range 4 {
		wg.Go(func() {
			for i := range 250 {
				// Their clocks were read before the lock: not in order.
				if _, yes := tab.Refused(start+uint64((i*7+loop)%100), []byte("a"), "api"); yes { //nolint:gosec // positive
					mu.Lock()
					escalated++
					mu.Unlock()
				}
				tab.Admitted([]byte("a"), "api")
				tab.Offenders(start)
			}
		})
	}
	wg.Wait()
	if escalated != 1 || tab.Stats().Escalated != 1 {
		t.Errorf("escalated %d times by 1000 refusals", escalated)
	}
}

func TestRefusalsAllocateNothing(t *testing.T) {
	tab := table(t, Config{Threshold: 8, Share: 10, Offenders: 16})
	names := make([][]byte, 200)
	for i := range names {
		names[i] = fmt.Append(nil, i)
	}
	now, i := start, 0
	if n := testing.AllocsPerRun(10_000, func() {
		i++
		now += second / 100
		tab.Refused(now, names[i%len(names)], "api")
		tab.Refused(now, names[0], "api")
		tab.Admitted(names[0], "api")
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if s := tab.Stats(); s.Displaced == 0 || s.Escalated == 0 {
		t.Errorf("it was all too easy: %+v", s)
	}
}

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	if err := (Config{Threshold: 1, Hold: 2 * time.Hour}).Validate(); err != nil {
		t.Errorf("a hold longer than what is the most by default: %v", err)
	}
	_, err := New(Config{Threshold: -1, Window: -1, Share: 101, Hold: 1, MaxHold: -1, Factor: 17, CalmBelow: -1, CalmFor: 1, Offenders: 1})
	for _, want := range []string{"threshold is -1: want 1 to 1024", "window is", "share is 101", "escalation.hold is", "max_hold is", "factor is 17", "calm_below is -1", "calm_for is", "offenders is 1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if err := (Config{Threshold: 1000, Offenders: 1 << 20}).Validate(); err == nil || !strings.Contains(err.Error(), "or a lower threshold") {
		t.Errorf("got %v", err)
	}
}
