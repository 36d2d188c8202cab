package test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// takeOver starts another process in the place of p, which hands all over to it and ends.
func (p *process) takeOver(next *process) {
	p.tb.Helper()
	next.launch()
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil || !strings.Contains(p.out.String(), "handed over") {
			p.tb.Fatalf("the process that was taken over from ended with %v:\n%s\nthe other:\n%s", err, p.out.String(), next.out.String())
		}
	case <-time.After(patience):
		p.tb.Fatalf("nobody took over:\n%s\nthe other:\n%s", p.out.String(), next.out.String())
	}
	next.awaitReady()
}

// TestE2ETakeoverTenTimesUnderLoad: events are published all the while; no client is closed, misses an
// event or has one twice, of a topic or of a pattern.
func TestE2ETakeoverTenTimesUnderLoad(t *testing.T) {
	for _, tt := range []struct {
		name      string
		clients   int
		takeovers int
		start     func(tb testing.TB) *process
	}{
		{"edge", 1000, 10, func(tb testing.TB) *process {
			tb.Helper()
			return newPair(tb, 1, "--data", tb.TempDir()).edges[0]
		}},
		{"serve", 200, 10, func(tb testing.TB) *process {
			tb.Helper()
			return serve(tb, "--data", tb.TempDir())
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { takeOvers(t, tt.start(t), tt.clients, tt.takeovers) })
	}
}

func takeOvers(t *testing.T, at *process, clients, takeovers int) {
	t.Helper()
	c := startCrowd(t, []string{at.edge}, clients, clients/10, []string{at.admin})
	first := at.cmd.Args[1:]
	for range takeovers {
		next := &process{tb: t, edge: at.edge, admin: at.admin, cmd: exec.Command(binary(t), append(slices.Clone(first), "--takeover")...)}
		next.cmd.Env = at.cmd.Env
		at.takeOver(next)
		at = next
	}
	events := c.check()
	for i, r := range c.clients {
		if r.resumes > 0 {
			t.Errorf("client %d was closed %d times", i, r.resumes)
		}
	}
	if events < uint64(takeovers) {
		t.Errorf("%d events prove little", events)
	}
	t.Logf("%d events, %d clients, %d takeovers; the last: %s", events, len(c.clients), takeovers, lineWith(at.out.String(), "took over"))
}

func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func TestE2ETakeoverIsRefusedWhereItWouldLose(t *testing.T) {
	p := serve(t)
	before := client(t, binary(t), "subscribe", "--url", "ws://"+p.edge, "news")
	p.until("subscribed", func() error {
		if p.subscriptions() == 0 {
			return fmt.Errorf("no subscription")
		}
		return nil
	})
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"events in memory", []string{"--listen", p.edge}, "events are kept in memory"},
		{"nobody there", []string{"--listen", freePort(t)}, "no weir serves there"},
	} {
		args := append([]string{"serve", "--admin", freePort(t), "--xdp", "off", "--takeover"}, tt.args...)
		if _, errs, code := weir(t, args...); code != 1 || !strings.Contains(errs, tt.want) {
			t.Errorf("%s: %d %s", tt.name, code, errs)
		}
	}
	p.publish("news", `"still here"`)
	p.until("delivered", func() error {
		if !strings.Contains(before.String(), "still here") {
			return fmt.Errorf("got %q", before.String())
		}
		return nil
	})
}
