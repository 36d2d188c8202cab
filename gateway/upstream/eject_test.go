package upstream

import (
	"testing"
	"time"
)

// failing is a rig whose server bad has just been ejected for a minute; of four.
func failing(t *testing.T, cfg Config) (r *rig, bad *Server) {
	t.Helper()
	if cfg.Servers == nil {
		cfg.Servers = servers(4)
	}
	cfg.Ejection.Base = time.Minute
	r = newRig(t, cfg)
	bad = r.pick(nil)
	bad.Done(r.now, Canceled, 0)
	for range 5 {
		r.ask(bad, Broken)
	}
	r.want(bad, Ejected)
	return r, bad
}

func TestFailuresInARowEject(t *testing.T) {
	for _, tt := range []struct {
		name     string
		ejection Ejection
		outcomes []Outcome
		ejects   bool
	}{
		{"each kind of gateway failure counts", Ejection{}, []Outcome{GatewayError, ConnectFailed, TimedOut, Broken, Broken}, true},
		{"four do not", Ejection{}, []Outcome{Broken, Broken, Broken, Broken}, false},
		{"an answer begins the count anew", Ejection{}, []Outcome{Broken, Broken, Broken, OK, Broken, Broken}, false},
		{"so does a 500, which the gateway's failures are not", Ejection{}, []Outcome{Broken, Broken, Broken, Status5xx, Broken, Broken}, false},
		{"what the client gave up does not", Ejection{}, []Outcome{Broken, Broken, Canceled, Broken, Broken, Broken}, true},
		{"500 does not by default", Ejection{}, []Outcome{Status5xx, Status5xx, Status5xx, Status5xx, Status5xx, Status5xx}, false},
		{"500 does where asked", Ejection{Consecutive5xx: 3}, []Outcome{Status5xx, Status5xx, Status5xx}, true},
		{"and with others", Ejection{Consecutive5xx: 3}, []Outcome{Status5xx, Broken, Status5xx}, true},
		{"never, where asked", Ejection{ConsecutiveGateway: -1}, []Outcome{Broken, Broken, Broken, Broken, Broken, Broken}, false},
		{"at once, where asked", Ejection{ConsecutiveGateway: 1}, []Outcome{ConnectFailed}, true},
	} {
		r := newRig(t, Config{Servers: servers(4), Ejection: tt.ejection})
		s := r.pick(nil)
		s.Done(r.now, Canceled, 0)
		for _, o := range tt.outcomes {
			r.ask(s, o)
		}
		if got := r.state(s) == Ejected; got != tt.ejects {
			t.Errorf("%s: ejected %v", tt.name, got)
		}
		if got := r.Counters().Ejections; got > 0 != tt.ejects {
			t.Errorf("%s: %d ejections", tt.name, got)
		}
	}
}

func TestAnEjectedServerGetsNothingUntilItsTime(t *testing.T) {
	for _, balance := range []Balance{LeastRequest, RoundRobin, Hash} {
		r := newRig(t, Config{Servers: servers(4), Balance: balance, Ejection: Ejection{Base: time.Minute}})
		bad := r.pick(nil)
		bad.Done(r.now, Canceled, 0)
		for range 5 {
			r.ask(bad, Broken)
		}
		key := uint64(0)
		gets := func() bool {
			for range 1000 {
				key++
				s, err := r.Pick(r.now, key, nil)
				if err != nil {
					t.Fatal(err)
				}
				s.Done(r.now, Canceled, 0)
				if s == bad {
					return true
				}
			}
			return false
		}
		r.now = epoch.Add(time.Minute - 1)
		if gets() {
			t.Errorf("%v: before its time", balance)
		}
		r.now = epoch.Add(time.Minute)
		if !gets() {
			t.Errorf("%v: it does not come back", balance)
		}
	}
}

func TestOneTrialDecides(t *testing.T) {
	r, bad := failing(t, Config{})
	r.now = r.now.Add(time.Minute)
	r.want(bad, HalfOpen)
	trial := func() *Server {
		t.Helper()
		for range 1000 {
			if s := r.pick(nil); s == bad {
				return s
			}
		}
		t.Fatal("no trial")
		return nil
	}
	first := trial()
	if r.gets(bad) {
		t.Fatal("two trials at once")
	}
	r.now = r.now.Add(time.Second)
	first.Done(r.now, Canceled, time.Second) // says nothing
	r.want(bad, HalfOpen)
	second := trial()
	second.Done(r.now, Broken, 0)
	r.want(bad, Ejected)
	if until := r.Status(r.now)[0].EjectedUntil; !until.Equal(r.now.Add(2*time.Minute)) && bad.address == r.Status(r.now)[0].Address {
		t.Errorf("the second ejection is until %v", until)
	}
	r.now = r.now.Add(2*time.Minute - 1)
	r.want(bad, Ejected)
	r.now = r.now.Add(1)
	third := trial()
	third.Done(r.now, OK, 0)
	r.want(bad, Up)
	for range 4 {
		r.ask(bad, Broken)
	}
	r.want(bad, Up) // it begins anew
}

func TestATrialThatDoesNotEndIsFollowedByAnother(t *testing.T) {
	r, bad := failing(t, Config{})
	r.now = r.now.Add(time.Minute)
	if !r.gets(bad) {
		t.Fatal("no trial") // and Canceled
	}
	for r.pick(nil) != bad { // a stream that goes on
	}
	r.now = r.now.Add(time.Minute - 1)
	if r.gets(bad) {
		t.Error("two trials at once")
	}
	r.now = r.now.Add(1)
	if !r.gets(bad) {
		t.Error("it waits for ever")
	}
}

func TestRequestsFromBeforeAreNoTrial(t *testing.T) {
	r := newRig(t, Config{Servers: servers(4), Balance: RoundRobin, Ejection: Ejection{Base: time.Minute}})
	old := r.pick(nil)
	for range 5 {
		r.ask(old, Broken)
	}
	r.now = r.now.Add(2 * time.Minute)
	r.want(old, HalfOpen)
	old.Done(r.now, Broken, 2*time.Minute)
	r.want(old, HalfOpen)
	r.ask(old, OK)
	r.want(old, Up)
}

func TestEjectionsGrowUpToMaxAndAreForgotten(t *testing.T) {
	cfg := Config{Servers: servers(4), Ejection: Ejection{ConsecutiveGateway: 1, Base: time.Minute, Max: 150 * time.Second, Interval: time.Minute}}
	r := newRig(t, cfg)
	s := r.pick(nil)
	s.Done(r.now, Broken, 0)
	for i, want := range []time.Duration{60, 120, 150, 150} {
		st := r.Status(r.now)
		for _, one := range st {
			if one.Address == s.address && !one.EjectedUntil.Equal(r.now.Add(want*time.Second)) {
				t.Fatalf("ejection %d lasts %v", i, one.EjectedUntil.Sub(r.now))
			}
		}
		r.now = r.now.Add(want*time.Second - 1)
		r.want(s, Ejected)
		r.now = r.now.Add(1)
		r.ask(s, Broken)
	}
	r.now = r.now.Add(150 * time.Second)
	r.ask(s, OK)
	r.now = r.now.Add(10 * time.Minute)
	r.want(s, Up)
	if due := r.due.Load(); due <= r.at(r.now) {
		t.Errorf("what was due at %v is so still", time.Duration(due))
	}
	r.ask(s, Broken)
	r.now = r.now.Add(time.Minute)
	r.want(s, HalfOpen)
}

func TestOnlySoManyAreEjected(t *testing.T) {
	for _, tt := range []struct{ servers, percent, want int }{
		{1, 100, 0}, {2, 10, 1}, {9, 10, 1}, {10, 30, 3}, {19, 10, 1}, {20, 10, 2}, {10, 100, 10},
	} {
		r := newRig(t, Config{
			Servers: servers(tt.servers), Balance: RoundRobin, PanicPercent: 100,
			Ejection: Ejection{ConsecutiveGateway: 1, MaxPercent: tt.percent},
		})
		for range 3 * tt.servers {
			if s, err := r.Pick(r.now, 0, nil); err == nil {
				s.Done(r.now, ConnectFailed, 0)
			}
		}
		n := 0
		for _, st := range r.Status(r.now) {
			if st.State == Ejected {
				n++
			}
		}
		c := r.Counters()
		if n != tt.want || int(c.Ejections) != n || (tt.percent < 100 && c.EjectionsRefused == 0) {
			t.Errorf("%d servers, %d percent: %d ejected, want %d; %+v", tt.servers, tt.percent, n, tt.want, c)
		}
	}
}

// answer has each of some servers answer 200 requests, of which it fails as many as the function says.
func (r *rig) answer(fails func(i int) int) {
	r.Helper()
	members := r.members()
	for i, s := range members {
		for n := range 200 {
			o := OK
			if n%2 == 0 && n/2 < fails(i) { // not in a row
				o = Status5xx
			}
			s.inFlight.Add(1)
			s.Done(r.now, o, 0)
		}
	}
	r.now = r.now.Add(10 * time.Second)
}

func TestSuccessRatesFarBelowTheMeanEject(t *testing.T) {
	for _, tt := range []struct {
		name     string
		servers  int
		ejection Ejection
		fails    func(i int) int
		want     int
	}{
		{"one of ten", 10, Ejection{}, func(i int) int { return i / 9 * 60 }, 1},
		{"all alike are no outliers", 10, Ejection{}, func(int) int { return 90 }, 0},
		{"a few failures among servers that have none", 10, Ejection{}, func(i int) int { return i / 9 * 4 }, 0},
		{"the worst two of thirty, as three may be", 30, Ejection{}, func(i int) int { return i / 28 * 100 }, 2},
		{"one of five, by a smaller factor", 5, Ejection{StdevFactor: 1000}, func(i int) int { return i / 4 * 100 }, 1},
		{"too few servers to compare", 4, Ejection{StdevFactor: 1000}, func(i int) int { return i / 3 * 100 }, 0},
		{"too few requests", 10, Ejection{RequestVolume: 201}, func(i int) int { return i / 9 * 100 }, 0},
		{"not where asked not to", 10, Ejection{StdevFactor: -1}, func(i int) int { return i / 9 * 100 }, 0},
		{"within the factor", 10, Ejection{StdevFactor: 3100}, func(i int) int { return i / 9 * 100 }, 0},
	} {
		r := newRig(t, Config{Servers: servers(tt.servers), Ejection: tt.ejection})
		r.answer(tt.fails)
		n := 0
		for i, st := range r.Status(r.now) {
			if st.State == Ejected {
				n++
				if i < tt.servers-tt.want {
					t.Errorf("%s: server %d is ejected", tt.name, i)
				}
			}
		}
		if n != tt.want {
			t.Errorf("%s: %d are ejected, want %d", tt.name, n, tt.want)
		}
	}
}

func TestWhatClientsGaveUpIsNoFailure(t *testing.T) {
	r := newRig(t, Config{Servers: servers(10)})
	members := r.members()
	for i, s := range members {
		for n := range 300 {
			o := OK
			if i == 0 && n%2 == 0 {
				o = Canceled
			}
			s.inFlight.Add(1)
			s.Done(r.now, o, 0)
		}
	}
	r.now = r.now.Add(10 * time.Second)
	r.want(members[0], Up)
}

func TestATrialThatWentWellStartsSlowly(t *testing.T) {
	r, bad := failing(t, Config{SlowStart: time.Minute})
	r.now = r.now.Add(time.Minute)
	r.ask(bad, OK)
	for _, st := range r.Status(r.now) {
		if want := st.Address == bad.address; st.State != Up || st.Warming != want {
			t.Errorf("it is %+v", st)
		}
	}
}

func TestSuccessRatesAreOfOneInterval(t *testing.T) {
	r := newRig(t, Config{Servers: servers(10)})
	// What 60 of 200 failures are in one interval, they are not after ten of none.
	for range 10 {
		r.answer(func(int) int { return 0 })
		r.Status(r.now)
	}
	r.answer(func(i int) int { return i / 9 * 60 })
	if got := r.Status(r.now)[9].State; got != Ejected {
		t.Errorf("it is %v", got)
	}
}

func TestPanicTrustsNoCheck(t *testing.T) {
	cfg := Config{Servers: servers(4), Health: Health{Interval: time.Second}}
	r := newRig(t, cfg)
	all := r.members()
	for i, s := range all[:2] {
		r.checked(s, 0, errCheck)
		if r.gets(s) {
			t.Fatalf("half are healthy, yet server %d gets requests", i)
		}
	}
	r.checked(all[2], 0, errCheck)
	for i, s := range all {
		if !r.gets(s) {
			t.Errorf("in panic server %d gets nothing", i)
		}
	}
	if c := r.Counters(); !c.Panicking || c.Panics != 1 || c.InPanic == 0 {
		t.Errorf("counted: %+v", c)
	}
	for range 2 {
		r.checked(all[2], 0, nil)
	}
	if c := r.Counters(); c.Panicking || r.gets(all[0]) || r.gets(all[1]) {
		t.Errorf("it goes on: %+v", c)
	}
}

func TestPanicAtAHundredPercentNever(t *testing.T) {
	r := newRig(t, Config{Servers: servers(2), PanicPercent: 100, Health: Health{Interval: time.Second}})
	for _, s := range r.members() {
		r.checked(s, 0, errCheck)
	}
	r.refused(ErrNone)
	if c := r.Counters(); c.None != 1 || c.Panics != 0 {
		t.Errorf("counted: %+v", c)
	}
}

func TestAServerThatComesBackStartsSlowly(t *testing.T) {
	for _, balance := range []Balance{LeastRequest, RoundRobin, Hash} {
		r := newRig(t, Config{
			Servers: servers(4), Balance: balance, SlowStart: 4 * time.Second, Health: Health{Interval: time.Second},
			Retries: Retries{Window: time.Minute}, // so that nothing else is due sooner
		})
		s := r.members()[0]
		r.checked(s, 0, errCheck)
		r.checked(s, 0, nil)
		r.checked(s, 0, nil)
		for _, tt := range []struct {
			after time.Duration
			share float64
		}{{0, 25. / 256}, {200 * time.Millisecond, 25. / 256}, {2 * time.Second, 0.5}, {4 * time.Second, 1}, {time.Hour, 1}} {
			r.now = epoch.Add(tt.after)
			want := 30000 * tt.share / (3 + tt.share)
			got := float64(r.counts(30000, func(i int) uint64 { return mix(uint64(i)) })[s.address])
			if got < want*0.9 || got > want*1.1 {
				t.Errorf("%v after %v: %v requests, want about %.0f", balance, tt.after, got, want)
			}
			if st := r.Status(r.now)[0]; st.Warming != (tt.share < 1) {
				t.Errorf("%v after %v: warming is %v", balance, tt.after, st.Warming)
			}
		}
	}
}
