package loop

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// why asks for the report of one conn until it is as wanted.
func (r *rig) why(client string, want func(ConnReport) bool) (last ConnReport) {
	r.t.Helper()
	for deadline := time.Now().Add(waitFor); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		all, err := r.srv.Why(r.t.Context(), client)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(all) == 1 {
			if last = all[0]; want(last) {
				return last
			}
		}
	}
	r.t.Fatalf("the report is %+v", last)
	return last
}

func TestWhyExplainsASlowClientWhileItLivesAndAfter(t *testing.T) {
	r := start(t, Config{})
	slow, fast := r.open("/ws/a"), r.open("/ws/a")
	client := slow.LocalAddr().String()
	first := r.why(client, func(c ConnReport) bool { return c.State == "websocket" })
	if first.Client != netip.MustParseAddrPort(client) || strings.Join(first.Topics, ",") != "a" || first.TCP == nil || first.Outstanding != 0 || first.Remote != first.Client || first.Local.String() != slow.RemoteAddr().String() {
		t.Errorf("at first: %+v", first)
	}
	r.fill(oneKey, fast)
	fell := func(c ConnReport) bool {
		return c.Falls["receive_window"]+c.Falls["congestion_window"]+c.Falls["unsent_bytes"] > 0
	}
	r.why(client, func(c ConnReport) bool { return c.Outstanding > 0 && fell(c) && c.TCP != nil })
	_ = slow.Close()
	r.why(client, func(c ConnReport) bool {
		return c.State == "closed" && c.Reason == "peer_gone" && fell(c) && c.TCP == nil && !c.Local.IsValid()
	})
	if all, err := r.srv.Why(t.Context(), "127.0.0.1"); err != nil || len(all) != 2 || all[1].State != "closed" {
		t.Errorf("by address: %+v, %v", all, err)
	}
	if _, err := r.srv.Why(t.Context(), "nobody"); err == nil || !strings.Contains(err.Error(), "want an address") {
		t.Errorf("%v", err)
	}
}

func TestCauseIsWhatTCPWaitsFor(t *testing.T) {
	for want, i := range map[Cause]TCPInfo{
		CauseReceiveWindow:    {SegmentBytes: 1000, UnackedSegments: 4, CongestionWindow: 10, ReceiveWindow: 4500},
		CauseCongestionWindow: {SegmentBytes: 1000, UnackedSegments: 10, CongestionWindow: 10, ReceiveWindow: 64000},
		CauseUnsent:           {SegmentBytes: 1000, UnackedSegments: 4, CongestionWindow: 10, ReceiveWindow: 64000},
	} {
		if got := i.cause(); got != want {
			t.Errorf("%+v: %v, want %v", i, got, want)
		}
	}
}

func TestHistoryKeepsTheLast(t *testing.T) {
	var h history
	for i := range uint32(historySize + 10) {
		h.add(ended{closed: i})
	}
	if len(h.conns) != historySize || h.conns[9].closed != historySize+9 || h.conns[10].closed != 10 {
		t.Errorf("%d conns, %v", len(h.conns), h.conns[:12])
	}
}

func TestWhySaysThatTheLoopWasLate(t *testing.T) {
	const late = 150 * time.Millisecond
	r := start(t, Config{Loops: 1})
	c := r.open("/ws/a")
	r.srv.each(func(*loop) { <-time.After(late) }) // over the next tick
	got := r.why(c.LocalAddr().String(), func(c ConnReport) bool { return c.LoopLag > 0 && c.LoopLag > late/10 })
	if got.LoopLag > 10*late {
		t.Errorf("the loop was %v late", got.LoopLag)
	}
	if lag := r.srv.Stats().Lag; lag.Count() == 0 || time.Duration(lag.Quantile(1)) < late/10 {
		t.Errorf("the lag is not among the counters: %d turns, at most %v late", lag.Count(), time.Duration(lag.Quantile(1)))
	}
}

func TestALoopThatIsStuckIsSaidWhileItIs(t *testing.T) {
	r := start(t, Config{Loops: 2})
	r.open("/ws/a")
	let := make(chan struct{})
	if err := r.srv.allLoops()[0].ask(func() { <-let }); err != nil {
		t.Fatal(err)
	}
	wait := func(what string, is func(Stats) bool) {
		t.Helper()
		for deadline := time.Now().Add(waitFor); !is(r.srv.Stats()); <-time.After(tick / 10) {
			if time.Now().After(deadline) {
				t.Errorf("%s: stalled for %v", what, r.srv.Stats().Stalled)
				return
			}
		}
	}
	wait("a loop is stuck", func(s Stats) bool { return s.Stalled > 3*tick })
	close(let)
	wait("it goes on", func(s Stats) bool { return s.Stalled < tick && time.Duration(s.Lag.Quantile(1)) > 2*tick })
}
