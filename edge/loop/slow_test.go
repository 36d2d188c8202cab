package loop

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"weir/edge/hub"
)

// fill publishes to topic a until a conn that is not read is behind. fast reads along.
func (r *rig) fill(key func(i int) string, fast *client) (published int) {
	r.t.Helper()
	data := `"` + strings.Repeat("x", 256<<10) + `"`
	for i := range 1000 {
		r.publishKey("a", key(i), data)
		fast.frame()
		if r.srv.Stats().Behind > 0 {
			return i + 1
		}
	}
	r.t.Fatal("1000 events of 256 KiB are in the kernel, and the conn is not behind")
	return 0
}

func oneKey(int) string { return "" }

// place is what a subscriber in format=json reads of a frame.
type place struct {
	Offset     uint64
	Key        string
	Skipped    uint64
	Subscribed bool
	Recovered  *bool
}

func (c *client) place() (p place) {
	c.t.Helper()
	_, text := c.frame()
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		c.t.Fatalf("%.100q: %v", text, err)
	}
	return p
}

func TestSlowReaderOfALogReadsEveryEvent(t *testing.T) {
	r := start(t, Config{})
	slow, fast := r.open("/ws/a?format=json"), r.open("/ws/a?format=json")
	fast.frame()
	r.fill(oneKey, fast)
	for i := range 600 { // more than the broker gives at once
		r.publish("a", fmt.Sprint(i))
		fast.frame()
	}
	if p := slow.place(); !p.Subscribed {
		t.Fatalf("first it is told %+v", p)
	}
	for want := uint64(1); want <= r.offset; want++ {
		if p := slow.place(); p.Offset != want || p.Skipped > 0 || p.Recovered != nil {
			t.Fatalf("told %+v, want offset %d", p, want)
		}
	}
	r.publish("a", "live")
	if p := slow.place(); p.Offset != r.offset {
		t.Errorf("told %+v, want offset %d", p, r.offset)
	}
}

func TestSlowReaderOfTheLatestIsSentTheNewestOfEachKey(t *testing.T) {
	r := startWith(t, Config{}, hub.Config{Modes: []hub.ModeRule{{Topics: "a", Mode: hub.ModeLatest}}})
	slow, fast := r.open("/ws/a?format=json"), r.open("/ws/a?format=json")
	fast.frame()
	r.fill(func(i int) string { return fmt.Sprint(i % 3) }, fast)
	newest := map[string]uint64{}
	for i := range 600 {
		key := fmt.Sprint(i % 7)
		r.publishKey("a", key, fmt.Sprint(i))
		fast.frame()
		newest[key] = r.offset
	}
	if p := slow.place(); !p.Subscribed {
		t.Fatalf("first it is told %+v", p)
	}
	var got, skipped, last uint64
	read := map[string]uint64{}
	for got+skipped < r.offset {
		p := slow.place()
		if p.Skipped > 0 {
			skipped += p.Skipped
			continue
		}
		if p.Offset <= last {
			t.Fatalf("offset %d after %d", p.Offset, last)
		}
		last = p.Offset
		read[p.Key] = p.Offset
		got++
	}
	if fmt.Sprint(read) != fmt.Sprint(newest) {
		t.Errorf("read %v, the newest are %v", read, newest)
	}
	if skipped < 300 {
		t.Errorf("%d skipped of %d", skipped, r.offset)
	}
}
