package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	chaosClients = 1000
	chaosTopics  = 20
	chaosPace    = 250 * time.Millisecond // between two events of a topic: some 50/s in all, outages included
)

// TestE2EChaosKilledBrokersAndEdgesLoseNothing kills them in the middle of the stream, alone and
// together, and freezes the broker: each client has every acknowledged event of its topics once and in
// order at the end, and none was told that events may be missing.
func TestE2EChaosKilledBrokersAndEdgesLoseNothing(t *testing.T) {
	for _, edges := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d edges", edges), func(t *testing.T) { chaos(t, edges) })
	}
}

func chaos(t *testing.T, edges int) {
	t.Helper()
	p := newPair(t, edges, "--data", t.TempDir())
	var at []string
	for _, e := range p.edges {
		at = append(at, e.edge)
	}
	c := startCrowd(t, at, chaosClients, 0, p.admins())
	p.disturb()
	events := c.check()
	resumes := 0
	for _, r := range c.clients {
		resumes += r.resumes
	}
	if resumes < chaosClients || events < 10*chaosTopics {
		t.Errorf("%d resumes and %d events prove little", resumes, events)
	}
	t.Logf("%d events, %d clients, %d resumes", events, chaosClients, resumes)
}

// disturb is some 20 s of misfortune.
func (p *pair) disturb() {
	p.tb.Helper()
	wait := func(d time.Duration) { <-time.After(d/2 + rand.N(d)) }
	killEdges := func() {
		for _, e := range p.edges {
			e.kill()
		}
	}
	startEdges := func() {
		for i := range p.edges {
			p.startEdge(i)
		}
	}
	wait(time.Second)
	for round := range 3 {
		p.tb.Logf("%s round %d: an edge", time.Now().Format("05.000"), round)
		i := round % len(p.edges)
		p.edges[i].kill()
		wait(300 * time.Millisecond)
		p.startEdge(i)
		wait(time.Second)

		p.tb.Logf("%s the broker", time.Now().Format("05.000"))
		p.broker.kill()
		wait(500 * time.Millisecond)
		p.startBroker()
		wait(time.Second)

		p.tb.Logf("%s both", time.Now().Format("05.000"))
		p.broker.kill()
		killEdges()
		wait(200 * time.Millisecond)
		if round%2 == 0 { // whoever is first
			startEdges()
			wait(300 * time.Millisecond)
			p.startBroker()
		} else {
			p.startBroker()
			startEdges()
		}
		wait(time.Second)
	}
	p.tb.Logf("%s the broker, which stops for longer than the edges wait", time.Now().Format("05.000"))
	p.signal(syscall.SIGSTOP)
	wait(7 * time.Second)
	p.signal(syscall.SIGCONT)
	wait(time.Second)
}

func (p *pair) signal(s syscall.Signal) {
	p.tb.Helper()
	if err := p.broker.cmd.Process.Signal(s); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *pair) admins() []string {
	all := []string{p.broker.admin}
	for _, e := range p.edges {
		all = append(all, e.admin)
	}
	return all
}

// publishUntil publishes 1, 2 and so on to a topic until ctx ends, each until it is acknowledged,
// through any of the processes. It returns the last.
func publishUntil(ctx context.Context, tb testing.TB, admins []string, topic string) (n uint64) {
	tb.Helper()
	client := &http.Client{Timeout: 3 * time.Second}
	for ctx.Err() == nil {
		n++
		body := fmt.Sprintf(`{"channel":%q,"data":{"n":%d},"idempotency_key":"%s-%d"}`, topic, n, topic, n)
		began := time.Now()
		for {
			err := acknowledged(client, admins[rand.IntN(len(admins))], body)
			if err == nil {
				break
			}
			if time.Since(began) > 2*patience {
				tb.Errorf("%s: %d is not acknowledged: %v", topic, n, err)
				return n - 1
			}
			<-time.After(50 * time.Millisecond)
		}
		select {
		case <-ctx.Done():
		case <-time.After(chaosPace):
		}
	}
	return n
}

// acknowledged is nil if a publish is.
func acknowledged(client *http.Client, admin, body string) error {
	res, err := client.Post("http://"+admin+"/api/publish", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	var reply struct{ Result *position }
	if err := json.Unmarshal(answer, &reply); err != nil || reply.Result == nil {
		return fmt.Errorf("answered %s", answer)
	}
	return nil
}

// awaitAll waits until no client lacks anything.
func awaitAll(tb testing.TB, clients []*resumer, what string, lacks func(*resumer) string) {
	tb.Helper()
	deadline := time.Now().Add(2 * patience)
	for i := 0; i < len(clients); {
		why := lacks(clients[i])
		if why == "" {
			i++
			continue
		}
		if time.Now().After(deadline) {
			for _, r := range clients {
				for _, w := range r.wrong {
					tb.Log(w)
				}
			}
			tb.Fatalf("client %d has not %s: %s", i, what, why)
		}
		<-time.After(10 * time.Millisecond)
	}
}
