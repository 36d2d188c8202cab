package loop

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/edge/handover"
	"weir/edge/hub"
	"weir/internal/testtoken"
)

func TestTakeoverKeepsIdentitiesTheirLimitAndTheirEnd(t *testing.T) {
	k := testtoken.New(t, "a")
	before, after := &bindings{}, &bindings{}
	cfg := Config{Loops: 2, Tokens: tokens(t, k), MaxConnsPerIdentity: 2, Binder: before, Anonymous: AnonymousOn}
	a := giver(t, cfg)
	anonymous := a.open("/ws/t")
	lasting := a.open("/ws/t", bearer(k.For(t, "alice", inAnHour())))
	ending := a.open("/ws/t", bearer(k.For(t, "alice", time.Now().Add(-time.Second))))
	cfg.Binder = after
	b := a.successor(cfg)
	a.wantGone()
	b.publish("t", "1")
	for _, c := range []*client{anonymous, lasting, ending} {
		c.wantFrame(1, "1")
	}
	if after.of(lasting) != "alice gold" || after.of(ending) != "alice gold" || after.of(anonymous) != "" {
		t.Errorf("bound are %v", after.now)
	}
	b.wantStatus(upgrade("/ws/t", bearer(k.For(t, "alice", inAnHour()))), 429, "subject holds all")
	ending.wantClose(closeTokenExpired)
	b.wantClosed(ReasonTokenExpired, 1)
	b.open("/ws/t", bearer(k.For(t, "alice", inAnHour())))
	a.stop()
	if all := strings.Join(before.all, ", "); all != "bind alice, bind alice" {
		t.Errorf("the giver said %s", all)
	}
}

// TestTakeoverWhileTokensAreChecked: the new process checks them anew, and the old one answers none.
func TestTakeoverWhileTokensAreChecked(t *testing.T) {
	k := testtoken.New(t, "a")
	cfg := Config{Loops: 2, Tokens: tokens(t, k), MaxConnsPerIdentity: 8}
	for _, tt := range []struct {
		name string
		fail bool
	}{{"it succeeds", false}, {"it fails", true}} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := cfg
			cfg.Takeover = filepath.Join(t.TempDir(), "takeover.sock")
			a := &rig{t: t, src: &source{atHead: true}}
			a.serve(cfg, hub.Config{}, "")
			release := a.slowly()
			clients := make([]*client, 8)
			for i := range clients {
				clients[i] = a.dial()
				clients[i].send(upgrade("/ws/t", bearer(k.For(t, "alice", inAnHour()))))
			}
			for deadline := time.Now().Add(waitFor); len(a.srv.checks.queue) < len(clients); <-time.After(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("not all are to be checked")
				}
			}
			at := a
			if tt.fail {
				a.beginAndFail(func() {
					release()
					a.idle()
					a.turn()
					if n := a.srv.identities.Held(); n > 0 {
						t.Errorf("conns of %d identities were let in while they were on their way", n)
					}
				})
			} else {
				at = a.successor(cfg)
				a.wantGone()
				release()
			}
			for _, c := range clients {
				if res, body := c.head(); res.StatusCode != 101 {
					t.Fatalf("%s %s", res.Status, body)
				}
			}
			at.publish("t", "1")
			for _, c := range clients {
				c.wantFrame(1, "1")
			}
			at.wantStatus(upgrade("/ws/t", bearer(k.For(t, "alice", inAnHour()))), 429, "subject holds all")
			a.stop()
		})
	}
}

// beginAndFail takes over from r as far as its conns are on their way, calls f, and dies.
func (r *rig) beginAndFail(f func()) {
	r.t.Helper()
	p, err := handover.Dial(context.Background(), r.srv.cfg.Takeover)
	if err != nil {
		r.t.Fatal(err)
	}
	defer p.Close() //nolint:errcheck // that is how it dies
	for _, k := range []handover.Kind{msgHello, msgReady} {
		if err := p.Send(k, hello{Version: takeoverVersion}); err != nil {
			r.t.Fatal(err)
		}
		m, err := p.Receive()
		if err != nil {
			r.t.Fatal(err)
		}
		m.Close()
	}
	f()
}
