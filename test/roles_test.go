package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"weir/broker"
)

const busSecret = "only-for-these-tests"

// address finds a free one for a process that is to be restarted at it, the n-th of a test. It is no
// address that conns of this host begin at, so that none of them takes the port meanwhile.
func address(tb testing.TB, n int) string {
	tb.Helper()
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", 2+n))
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // it was never used
	return ln.Addr().String()
}

// pair is a broker and its edges, each of which can be killed and started again where it was.
type pair struct {
	tb     testing.TB
	bus    string
	args   []string // of the broker
	broker *process
	edges  []*process
}

func newPair(tb testing.TB, edges int, brokerArgs ...string) *pair {
	tb.Helper()
	p := &pair{tb: tb, bus: address(tb, 0), args: brokerArgs}
	p.broker = &process{tb: tb, admin: address(tb, 1)}
	for i := range edges {
		p.edges = append(p.edges, &process{tb: tb, edge: address(tb, 2+2*i), admin: address(tb, 3+2*i)})
	}
	tb.Cleanup(func() {
		for _, each := range append([]*process{p.broker}, p.edges...) {
			if tb.Failed() {
				tb.Logf("%s said at last:\n%s", each.admin, each.out.String())
			}
		}
	})
	p.startBroker()
	p.broker.awaitReady()
	for i := range edges {
		p.startEdge(i)
		p.edges[i].awaitReady()
	}
	return p
}

// run replaces a process by a new one at the same addresses.
func (p *pair) run(old *process, args ...string) *process {
	p.tb.Helper()
	next := &process{tb: p.tb, edge: old.edge, admin: old.admin}
	next.cmd = exec.Command(binary(p.tb), args...)
	next.cmd.Env = append(os.Environ(), "WEIR_BUS_SECRET="+busSecret)
	next.launch()
	return next
}

func (p *pair) startBroker() {
	p.tb.Helper()
	p.broker = p.run(p.broker, append([]string{"broker", "--nats", p.bus, "--admin", p.broker.admin}, p.args...)...)
}

func (p *pair) startEdge(i int) {
	p.tb.Helper()
	e := p.edges[i]
	p.edges[i] = p.run(e, "edge", "--bus", "nats://"+p.bus, "--listen", e.edge, "--admin", e.admin, "--xdp", "off")
}

func TestE2ERolesBrokerAndEdgeDoWhatServeDoes(t *testing.T) {
	p := newPair(t, 2)
	at := p.broker.publish("news", `"one"`)
	second := p.edges[1].publish("news", `"two"`)
	if second.Epoch != at.Epoch || second.Offset != at.Offset+1 {
		t.Errorf("by the broker at %+v, by an edge at %+v", at, second)
	}
	for _, e := range p.edges {
		out, errs, code := weir(t, "subscribe", "--url", "ws://"+e.edge, "--since", at.Epoch+":0", "--count", "2", "--json", "news")
		if code != 0 || !strings.Contains(out, `"data":"one"`) || !strings.Contains(out, `"data":"two"`) {
			t.Errorf("resumed with %d: %s %s", code, out, errs)
		}
	}
	out, errs, code := weir(t, "publish", "--admin", "http://"+p.edges[0].admin, "news", "three")
	if code != 0 || out != fmt.Sprintf("%s:%d\n", at.Epoch, at.Offset+2) {
		t.Errorf("weir publish: %q %q", out, errs)
	}
	for _, each := range []*process{p.broker, p.edges[0]} {
		text := each.get("/metrics")
		for _, series := range []string{"weir_broker_link_up 1", "weir_broker_link_reconnects_total 0", "weir_bus_published_total"} {
			if !strings.Contains(text, series) {
				t.Errorf("no %s", series)
			}
		}
	}
	for _, each := range append([]*process{p.broker}, p.edges...) {
		if code := each.stop(); code != 0 {
			t.Errorf("exit code %d:\n%s", code, each.out.String())
		}
		if strings.Contains(each.out.String(), busSecret) {
			t.Errorf("the secret is in\n%s", each.out.String())
		}
	}
}

func TestE2ERolesSayWhatTheyNeed(t *testing.T) {
	p := newPair(t, 0)
	for _, tt := range []struct {
		name, args, secret string
		code               int
		want               string
	}{
		{"an edge without a broker", "edge", busSecret, 2, "--bus nats://HOST:4222"},
		{"an edge without a secret", "edge --bus nats://" + p.bus, "", 1, "bus.secret is missing"},
		{"an edge with another secret", "edge --xdp off --bus nats://" + p.bus, "another secret than it", 1, "set the same on the broker and on its edges"},
		{"a broker for other hosts without a secret", "broker --nats 0.0.0.0:0", "", 1, "bus.secret is missing"},
		{"doctor, of a broker that lets us in", "doctor --json", busSecret, 0, ""},
		{"doctor, of one that does not", "doctor --json", "another secret than it", 1, ""},
		{"a broker that is no address", "edge --bus here", busSecret, 1, "nats://host:port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("WEIR_BUS_SECRET", tt.secret)
			if strings.HasPrefix(tt.args, "doctor") {
				t.Setenv("WEIR_BUS_SERVERS", "nats://"+p.bus)
				t.Setenv("WEIR_EDGE_MAX_CONNS", "100")
			}
			_, errs, code := weir(t, strings.Fields(tt.args)...)
			if code != tt.code || !strings.Contains(errs, tt.want) {
				t.Errorf("%d %q, want %d %q", code, errs, tt.code, tt.want)
			}
			if tt.secret != "" && strings.Contains(errs, tt.secret) {
				t.Errorf("the secret is in %q", errs)
			}
		})
	}
}

// TestE2EEdgeWithoutItsBroker looks at an edge while its broker, which keeps events in memory, is away
// and once another one is there.
func TestE2EEdgeWithoutItsBroker(t *testing.T) {
	p := newPair(t, 1)
	e := p.edges[0]
	at := p.broker.publish("kept", `"one"`)
	watcher := client(t, binary(t), "subscribe", "--url", "ws://"+e.edge, "--json", "kept")
	e.until("a subscriber", func() error {
		if n := e.subscriptions(); n != 1 {
			return fmt.Errorf("%d subscriptions", n)
		}
		return nil
	})
	p.broker.kill()
	e.until("not ready", func() error {
		res, err := http.Get("http://" + e.admin + "/readyz")
		if err != nil {
			return err
		}
		defer res.Body.Close() //nolint:errcheck // nothing is read
		if res.StatusCode != http.StatusServiceUnavailable {
			return fmt.Errorf("%s", res.Status)
		}
		return nil
	})
	if !strings.Contains(e.get("/metrics"), "weir_broker_link_up 0\n") {
		t.Error("the link is up")
	}
	_, head, _ := e.raw("/ws/fresh")
	if !strings.Contains(head, " 503 ") || !strings.Contains(head, "Retry-After: ") {
		t.Errorf("a topic that is not open: %q", head)
	}
	if _, head, err := e.raw("/ws/kept"); err != nil || !strings.Contains(head, " 101 ") {
		t.Errorf("a topic that is open: %q, %v", head, err)
	}
	_, errs, code := weir(t, "publish", "--admin", "http://"+e.admin, "kept", "lost")
	if code != 1 || !strings.Contains(errs, broker.ErrUnavailable.Error()) || !strings.Contains(errs, "try again") {
		t.Errorf("a publish: %d %q", code, errs)
	}
	p.startBroker()
	p.broker.awaitReady()
	e.awaitReady()
	e.until("a reset", func() error {
		if !strings.Contains(watcher.String(), `"recovered":false`) {
			return fmt.Errorf("got %q", watcher.String())
		}
		return nil
	})
	next := e.publish("kept", `"two"`)
	if next.Epoch == at.Epoch {
		t.Error("the epoch is the old one")
	}
	e.until("the next event", func() error {
		if !strings.Contains(watcher.String(), fmt.Sprintf(`"epoch":%q,"offset":%d,"data":"two"`, next.Epoch, next.Offset)) {
			return fmt.Errorf("got %q", watcher.String())
		}
		return nil
	})
	if text := e.get("/metrics"); !strings.Contains(text, "weir_broker_link_up 1\n") || !strings.Contains(text, "weir_broker_link_reconnects_total 1\n") {
		t.Error("the link is not up after one reconnect")
	}
}
