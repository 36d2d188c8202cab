package loop

import (
	"encoding/binary"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/edge/hub"
	"weir/internal/testtoken"
	"weir/token"
)

// TestConnEndsWithItsToken, and the leeway: in the tick after, whatever its pings do.
func TestConnEndsWithItsToken(t *testing.T) {
	k := testtoken.New(t, "a")
	for _, tt := range []struct {
		name    string
		lasts   time.Duration
		answers bool
	}{
		{"between two pings", 5 * time.Second, true},
		{"at once", -token.DefaultLeeway + time.Second, true},
		{"after many", 10 * time.Minute, true},
		{"while a pong is waited for", 23 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, Config{Tokens: tokens(t, k), PingInterval: 25 * time.Second, PongTimeout: 20 * time.Second}, hub.Config{}, func(b *bubble) {
				ends := time.Now().Add(tt.lasts)
				s := b.open("/ws/a?token=" + k.For(t, "alice", ends))
				forever := b.open("/ws/a?token=" + k.Sign(t, map[string]any{"sub": "alice", "exp": 1e15}))
				pings := map[*fakeSocket]int{}
				for time.Now().Before(ends.Add(token.DefaultLeeway - tick)) {
					time.Sleep(tick)
					synctest.Wait()
					for _, s := range []*fakeSocket{s, forever} {
						if wrote, _ := s.past(); tt.answers && len(wrote) > pings[s] {
							pings[s] = len(wrote)
							b.receive(s, masked(0x8a, ""))
						}
					}
				}
				if wrote, closed := s.past(); !closed.IsZero() || len(wrote) > 0 && strings.HasPrefix(wrote[len(wrote)-1].text, "\x88") {
					b.t.Fatalf("closed before its end: %+v", wrote)
				}
				time.Sleep(4 * tick)
				synctest.Wait()
				wrote, _ := s.past()
				last := wrote[len(wrote)-1]
				if late := last.at.Sub(ends.Add(token.DefaultLeeway)); last.text[0] != 0x88 || binary.BigEndian.Uint16([]byte(last.text[2:])) != closeTokenExpired || late < 0 || late > 2*tick {
					b.t.Errorf("%q, %v after its end", last.text, late)
				}
				time.Sleep(closeLinger + 2*tick)
				synctest.Wait()
				if _, closed := s.past(); closed.IsZero() || b.stats.closed[ReasonTokenExpired].Load() != 1 {
					b.t.Errorf("closed at %v", closed)
				}
				if wrote, _ := forever.past(); len(wrote) > 0 && wrote[len(wrote)-1].text[0] == 0x88 && tt.answers {
					b.t.Errorf("one without an end was closed: %+v", wrote)
				}
			})
		})
	}
}

func TestStreamEndsWithItsTokenAndSaysSo(t *testing.T) {
	k := testtoken.New(t, "a")
	inBubble(t, Config{Tokens: tokens(t, k)}, hub.Config{}, func(b *bubble) {
		s := &fakeSocket{loop: b.el}
		b.do(func() { b.onOpen(s) })
		b.receive(s, "GET /sse/a?token="+k.For(t, "alice", time.Now().Add(time.Second))+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if !strings.HasPrefix(s.text(), "HTTP/1.1 200 ") {
			b.t.Fatal(s.text())
		}
		time.Sleep(time.Second + token.DefaultLeeway + 2*tick)
		synctest.Wait()
		if text := s.text(); !strings.HasSuffix(text, "event: expired\ndata: {\"message\":\""+textTokenExpired+"\"}\n\n") {
			b.t.Error(text)
		}
		if c := s.ctx.(*conn); c.state != stateClosing || c.reason != ReasonTokenExpired { //nolint:forcetypeassert // it is made so
			b.t.Errorf("%v, %v", c.state, c.reason)
		}
		time.Sleep(closeLinger + 2*tick)
		synctest.Wait()
	})
}

// TestBlockedConnEndsWithItsToken: a client that does not read is not given longer.
func TestBlockedConnEndsWithItsToken(t *testing.T) {
	k := testtoken.New(t, "a")
	inBubble(t, Config{Tokens: tokens(t, k), PongTimeout: time.Minute}, hub.Config{}, func(b *bubble) {
		s := b.open("/ws/a?token=" + k.For(t, "alice", time.Now().Add(10*time.Second)))
		b.take(s, 0)
		b.publish("a", "", "x")
		time.Sleep(10*time.Second + token.DefaultLeeway + closeLinger + 4*tick)
		synctest.Wait()
		if _, closed := s.past(); closed.IsZero() || b.stats.closed[ReasonTokenExpired].Load() != 1 {
			b.t.Errorf("closed at %v", closed)
		}
	})
}
