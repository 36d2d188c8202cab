package test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"weir/internal/testlog"
)

// TestE2EPatternHasTopicsThatDidNotExist has clients at each door subscribed to patterns before any of
// their topics is: they get the events of all of them, and who has a topic too gets those twice, once
// as each.
func TestE2EPatternHasTopicsThatDidNotExist(t *testing.T) {
	p := serve(t)
	const topics = 300
	raw, head, err := p.raw("/ws/w.*")
	if err != nil {
		t.Fatalf("%q: %v", head, err)
	}
	envelopes := client(t, binary(t), "subscribe", "--url", "ws://"+p.edge, "--json", "--count", fmt.Sprint(topics+1), "w.>", "w.t7")
	sse := client(t, "curl", "-sNg", "http://"+p.edge+"/sse/*.*")
	p.until("all are subscribed", func() error {
		if n := p.subscriptions(); n != 4 {
			return fmt.Errorf("%d subscriptions", n)
		}
		return nil
	})
	p.publish("other", `"not theirs"`)
	var wantJSON, wantSSE []string
	var wantRaw strings.Builder
	for i := range topics {
		topic, data := fmt.Sprint("w.t", i), fmt.Sprintf("\"%03d\"", i)
		at := p.publish(topic, data)
		line := fmt.Sprintf(`{"topic":%q,"epoch":%q,"offset":%d,"data":%s}`, topic, at.Epoch, at.Offset, data)
		if wantJSON = append(wantJSON, line); i == 7 {
			wantJSON = append(wantJSON, line)
		}
		wantSSE = append(wantSSE, fmt.Sprintf("id: %s:%d\ndata: %s\n\n", at.Epoch, at.Offset, data))
		wantRaw.WriteString("\x81\x05" + data)
	}
	frames := make([]byte, wantRaw.Len())
	if _, err := io.ReadFull(raw, frames); err != nil || string(frames) != wantRaw.String() {
		t.Errorf("raw: %v, %.60q… want %.60q…", err, frames, wantRaw.String())
	}
	for _, c := range []struct {
		name string
		out  *testlog.Buffer
		want string
	}{
		{"json", envelopes, strings.Join(wantJSON, "\n") + "\n"},
		{"sse", sse, strings.Join(wantSSE, "")},
	} {
		p.until(c.name, func() error {
			if got := c.out.String(); !strings.HasSuffix(got, c.want) {
				return fmt.Errorf("got\n…%s", got[max(0, len(got)-2000):])
			}
			return nil
		})
	}
	for _, line := range strings.Split(envelopes.String(), "\n")[:2] {
		var control struct {
			Topic      string
			Epoch      string
			Subscribed bool
		}
		if err := json.Unmarshal([]byte(line), &control); err != nil || !control.Subscribed || control.Topic == "w.>" && control.Epoch == "" {
			t.Errorf("told %q: %v", line, err)
		}
	}
	for _, want := range []string{"\nweir_edge_patterns 3\n", "\nweir_broker_patterns 3\n", "\nweir_broker_seen_topics 299\n"} {
		if !strings.Contains(p.get("/metrics"), want) {
			t.Errorf("the metrics have no %q", want)
		}
	}
}

// TestE2EBrowserThatComesBackToAPatternIsToldOfAHole sends what an EventSource sends by itself.
func TestE2EBrowserThatComesBackToAPatternIsToldOfAHole(t *testing.T) {
	p := serve(t)
	at := p.publish("w.a", `1`)
	out := client(t, "curl", "-sNg", "-H", fmt.Sprintf("Last-Event-ID: %s:%d", at.Epoch, at.Offset), "http://"+p.edge+"/sse/w.*")
	p.until("told", func() error {
		if got := out.String(); !strings.Contains(got, "event: subscribed") || !strings.Contains(got, `"topic":"w.*"`) || !strings.Contains(got, `"recovered":false`) {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
}
