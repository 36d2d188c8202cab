package test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// publishKey publishes an event of a key.
func (p *process) publishKey(topic, key, data string) position {
	p.tb.Helper()
	var reply struct{ Result position }
	p.post("/api/publish", fmt.Sprintf(`{"channel":%q,"key":%q,"data":%q}`, topic, key, data), &reply)
	return reply.Result
}

// TestE2ESlowClientIsSkippedAndExplained has a client stall on a topic in mode latest: weir why says for
// which cause it is behind, and once it reads again it is told how many events it is not sent, and
// gets the newest of each key.
func TestE2ESlowClientIsSkippedAndExplained(t *testing.T) {
	config := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(config, []byte("edge:\n  modes: [\"slow.>=latest\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := serve(t, "--config", config)
	conn, _, err := p.raw("/ws/slow.a?format=json")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil { //nolint:forcetypeassert // it was dialed
		t.Fatal(err)
	}
	big := strings.Repeat("x", 32<<10)
	p.until("behind", func() error {
		p.publishKey("slow.a", "big", big)
		if strings.Contains(p.get("/metrics"), "\nweir_edge_behind_subscriptions 1\n") {
			return nil
		}
		return errors.New("its subscription is not behind")
	})
	var last position
	for i := range 50 {
		last = p.publishKey("slow.a", fmt.Sprint("key", i%2), fmt.Sprint("value ", i))
	}
	client := conn.LocalAddr().String()
	out, _, code := weir(t, "why", client, "--admin", "http://"+p.admin)
	for _, want := range []string{client, "websocket", "slow.a", " for receive_window", "segments of the network"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("why: no %q in\n%s", want, out)
		}
	}
	var read strings.Builder
	for end := fmt.Sprintf(`"offset":%d,"key":"key1","data":"value 49"}`, last.Offset); !strings.Contains(read.String(), end); {
		part := make([]byte, 64<<10)
		n, err := conn.Read(part)
		if err != nil {
			t.Fatalf("%v; the end of what came: %q", err, read.String()[max(0, read.Len()-500):])
		}
		read.Write(part[:n])
	}
	text := read.String()
	if !strings.Contains(text, `"skipped":`) || !strings.Contains(text, `"value 48"`) || strings.Contains(text, `"value 47"`) {
		t.Errorf("not the newest alone: %q", text[max(0, len(text)-1000):])
	}
	_ = conn.Close()
	p.until("explained after its end", func() error {
		out, _, _ := weir(t, "why", client, "--admin", "http://"+p.admin)
		if !strings.Contains(out, "closed") || !strings.Contains(out, "peer_gone") {
			return errors.New(out)
		}
		return nil
	})
	if _, errs, code := weir(t, "why", "nobody", "--admin", "http://"+p.admin); code != 1 || !strings.Contains(errs, "want an address") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}
