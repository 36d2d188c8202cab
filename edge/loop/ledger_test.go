package loop

import (
	"testing"
	"time"
)

func TestOverdraftIsSharedByWhatEachHolds(t *testing.T) {
	for _, tt := range []struct{ own, all, bound, want int64 }{
		{0, 0, 100, 0},
		{50, 100, 100, 0},
		{50, 200, 100, 25},
		{150, 200, 100, 75},
		{200, 200, 100, 100},
	} {
		if got := overdraft(tt.own, tt.all, tt.bound); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}

func TestLedgerClosesThoseWhoHaveNotReadTheLongest(t *testing.T) {
	r := start(t, Config{MaxHeldBytes: 1 << 20})
	fast := r.open("/ws/a")
	for range 40 {
		r.open("/ws/a") // and does not read
	}
	r.fill(oneKey, fast)
	data := make([]byte, 64<<10)
	deadline := time.Now().Add(waitFor)
	for r.srv.Stats().Closed[ReasonSlowConsumer] == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("none is closed: %+v", r.srv.Stats())
		}
		r.publish("a", string(data))
		fast.frame()
	}
	for r.srv.Stats().HeldProcess+r.srv.Stats().HeldKernel > 1<<20 {
		if time.Now().After(deadline) {
			t.Fatalf("held: %+v", r.srv.Stats())
		}
		<-time.After(time.Millisecond)
	}
	if n := r.srv.Stats().Closed[ReasonSlowConsumer]; n >= 40 {
		t.Errorf("%d are closed", n)
	}
	r.publish("a", "live")
	fast.wantFrame(1, "live")
}
