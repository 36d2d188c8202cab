package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"weir/edge/ws"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// ProbeTimeout is how long a probe may take. It leaves room for one lost SYN, which is sent
// again after a second.
const ProbeTimeout = 2 * time.Second

// maxHead bounds the answer to a handshake.
const maxHead = 8 << 10

// prober opens conns on a schedule, each with a handshake, and closes them.
type prober struct {
	cfg  Config
	key  string
	live sync.WaitGroup

	mu     sync.Mutex // guards what follows
	round  int
	report Report
	hist   *hdrhistogram.Histogram
}

// probe is [Run] for a Config with ProbesPerSecond.
func probe(cfg Config, commands <-chan string, answer *json.Encoder) error {
	p := &prober{cfg: cfg, key: Key, hist: hdrhistogram.New(1000, int64(ProbeTimeout), 3)}
	if err := answer.Encode(p.report); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer p.live.Wait()
	defer stop()
	p.live.Go(func() { p.schedule(ctx) })
	for c := range commands {
		if c == CommandStop {
			stop()
			p.live.Wait() // those on their way count
		}
		if err := p.answer(answer, c == CommandReset); err != nil || c == CommandStop {
			return err
		}
	}
	return nil
}

func (p *prober) answer(answer *json.Encoder, reset bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	if p.report.Latency, err = p.hist.Encode(hdrhistogram.V2CompressedEncodingCookieBase); err != nil {
		return fmt.Errorf("encode latencies: %w", err)
	}
	if err := answer.Encode(p.report); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if reset {
		p.round++
		p.report = Report{}
		p.hist.Reset()
	}
	return nil
}

// schedule starts a probe when it is due, however long those before it take.
func (p *prober) schedule(ctx context.Context) {
	start := time.Now()
	for i := 0; ; i++ {
		due := start.Add(time.Duration(float64(i) / p.cfg.ProbesPerSecond * 1e9))
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(due)):
		}
		p.mu.Lock()
		round := p.round
		p.mu.Unlock()
		p.live.Go(func() {
			err := p.shake(i, due)
			p.count(round, time.Since(due), err == nil)
		})
	}
}

func (p *prober) count(round int, took time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if round != p.round {
		return
	}
	p.report.Probes++
	if ok {
		p.report.Shaken++
		_ = p.hist.RecordValue(min(max(took.Nanoseconds(), 1000), int64(ProbeTimeout))) // in range by the min and max
	}
}

// shake opens a conn, does the handshake, and resets the conn.
func (p *prober) shake(i int, due time.Time) error {
	d := net.Dialer{Deadline: due.Add(ProbeTimeout)}
	if n := len(p.cfg.Sources); n > 0 {
		d.LocalAddr = &net.TCPAddr{IP: p.cfg.Sources[i%n].AsSlice()}
	}
	conn, err := d.Dial("tcp", p.cfg.Edge.String())
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	defer conn.Close() //nolint:errcheck // it is reset
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // leave no port behind in TIME_WAIT
	}
	if err := conn.SetDeadline(d.Deadline); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if _, err := conn.Write(ws.AppendClientHandshake(nil, p.cfg.Edge.String(), p.cfg.Target, p.key)); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	head := make([]byte, 0, maxHead)
	for len(head) < maxHead {
		n, err := conn.Read(head[len(head):maxHead])
		head = head[:len(head)+n]
		if end := headEnd(head); end > 0 {
			return ws.CheckServerHandshake(head[:end], p.key)
		}
		if err != nil {
			return fmt.Errorf("probe: %w", err)
		}
	}
	return errors.New("probe: the answer has no end")
}

func headEnd(b []byte) int {
	for i := 3; i < len(b); i++ {
		if b[i] == '\n' && b[i-1] == '\r' && b[i-2] == '\n' && b[i-3] == '\r' {
			return i + 1
		}
	}
	return 0
}
