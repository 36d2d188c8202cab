package kernel

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/bpf/xdp"
)

// running runs an agent until the test ends.
func running(t *testing.T, a *Agent) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	synctest.Wait()
}

// denying is another policy than the first one.
func denying() Policy {
	p := thousand()
	p.List(Entry{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Deny: true})
	return p
}

func TestPolicyComesBackUnlessConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		prog := &program{attached: true}
		a := agent(t, prog)
		running(t, a)
		shadow := xdp.ModeShadow
		until, err := a.Apply(Change{Policy: denying(), Mode: &shadow, Confirm: time.Minute})
		if err != nil || until != time.Now().Add(time.Minute) {
			t.Fatalf("until %v, %v", until, err)
		}
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if p, _ := a.Policy(); len(p.Entries) != 1 || prog.mode != xdp.ModeShadow {
			t.Errorf("before: %+v, %v", p, prog.mode)
		}
		// A second try does not make the first one what comes back.
		if _, err := a.Apply(Change{Policy: denying(), Confirm: time.Minute}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if p, until := a.Policy(); len(p.Entries) != 0 || prog.mode != xdp.ModeEnforce || !until.IsZero() {
			t.Errorf("after: %+v, %v, %v", p, prog.mode, until)
		}
		if err := a.Confirm(); !errors.Is(err, ErrNothingToConfirm) {
			t.Errorf("confirmed what has gone: %v", err)
		}
	})
}

func TestConfirmedPolicyStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := agent(t, &program{attached: true})
		running(t, a)
		if _, err := a.Apply(Change{Policy: denying(), Confirm: time.Minute}); err != nil {
			t.Fatal(err)
		}
		if err := a.Confirm(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if p, _ := a.Policy(); len(p.Entries) != 1 {
			t.Errorf("%+v", p)
		}
	})
}

func TestProgramIsAttachedAgainWhenItsInterfaceComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		prog := &program{}
		a := agent(t, prog)
		running(t, a)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if !prog.attached || prog.attaches != 1 {
			t.Errorf("attached %v, %d times", prog.attached, prog.attaches)
		}
	})
}

func TestEscalationsAreSweptAndWhoIsProtectedByNowIsRelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		prog := &program{attached: true, sweepError: errors.New("no")}
		var peers []Peer
		a, err := NewAgent(prog, thousand(), xdp.ModeEnforce, func() []Peer { return peers }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		running(t, a)
		for _, c := range []Client{{Identity: "alice"}, prefix("192.0.2.7/32"), prefix("192.0.2.8/32")} {
			if err := a.Escalate(c, Escalation{For: time.Hour}); err != nil {
				t.Fatal(err)
			}
		}
		peers = []Peer{{netip.MustParseAddr("::ffff:192.0.2.7"), "connected by SSH"}}
		if err := a.Escalate(prefix("192.0.2.7/32"), Escalation{For: time.Hour}); err != nil {
			t.Errorf("who is connected was asked again at once: %v", err)
		}
		time.Sleep(2*peersInterval + 2*time.Second)
		synctest.Wait()
		if len(prog.escalated) != 2 || prog.escalated[0].Client.Identity != "alice" || prog.escalated[1].Client != prefix("192.0.2.8/32") || prog.sweeps < 100 {
			t.Errorf("%+v, %d sweeps", prog.escalated, prog.sweeps)
		}
		if err := a.Escalate(prefix("192.0.2.7/32"), Escalation{For: time.Hour}); !errors.Is(err, ErrCuts) {
			t.Errorf("got %v", err)
		}
	})
}
