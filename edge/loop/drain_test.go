package loop

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestDrainTakesAsLongAsComingBack(t *testing.T) {
	const most = 30 * time.Second
	for _, tt := range []struct {
		conns int
		rate  uint64
		want  time.Duration
	}{
		{0, 0, 0},
		{500, 0, 500 * time.Millisecond},
		{500, 3, 500 * time.Millisecond}, // came one by one
		{100_000, 20_000, 5 * time.Second},
		{1_000_000, 20_000, most},
	} {
		if got := drainWindow(tt.conns, tt.rate, most); got != tt.want {
			t.Errorf("%d conns, %d/s: %v, want %v", tt.conns, tt.rate, got, tt.want)
		}
	}
}

func TestAcceptMeterKeepsTheBestSecond(t *testing.T) {
	var m acceptMeter
	var accepted uint64
	for _, second := range []uint64{10, 700, 20} {
		accepted += second
		for range time.Second / tick {
			m.tick(accepted)
		}
	}
	if got := m.most.Load(); got != 700 {
		t.Errorf("%d, want 700", got)
	}
}

func TestDrainTellsClientsWhenAndWhereToConnectAgain(t *testing.T) {
	r := start(t, Config{DrainTo: "wss://b.example/ws"})
	c, stream := r.open("/ws/a"), r.dial()
	stream.send("GET /sse/a HTTP/1.1\r\nHost: x\r\n\r\n")
	stream.head()
	r.stop()
	if reason := c.wantClose(1012); !regexp.MustCompile(`^connect again in \d{1,3} ms at wss://b\.example/ws$`).MatchString(reason) {
		t.Errorf("closed with %q", reason)
	}
	var text strings.Builder
	if _, err := stream.r.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`retry: \d+\nevent: reconnect\ndata: \{"after_ms":\d+,"url":"wss://b\.example/ws"\}\n\n$`).MatchString(text.String()) {
		t.Errorf("the stream ends with %q", text.String())
	}
}

func TestDrainToThatFitsNoCloseFrameIsRefused(t *testing.T) {
	if err := (Config{DrainTo: "wss://" + strings.Repeat("x", maxDrainTo)}).Validate(); err == nil || !strings.Contains(err.Error(), "edge.DrainTo") {
		t.Errorf("%v", err)
	}
}
