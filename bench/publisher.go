package bench

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"weir/bench/load"
)

// Publisher publishes numbered events to one topic through the admin API, pipelined on one
// conn, which keeps their order.
type Publisher struct {
	conn   net.Conn
	admin  string
	topic  string
	size   int
	seq    uint64
	failed chan error
	acks   chan struct{}
}

// NewPublisher connects to the admin address, host:port.
func NewPublisher(ctx context.Context, dial func(ctx context.Context, network, addr string) (net.Conn, error), admin, topic string, size int) (*Publisher, error) {
	conn, err := dial(ctx, "tcp", admin)
	if err != nil {
		return nil, fmt.Errorf("connect to the admin address %s: %w", admin, err)
	}
	p := &Publisher{conn: conn, admin: admin, topic: topic, size: size, failed: make(chan error, 1), acks: make(chan struct{}, 1<<16)}
	go p.readAnswers()
	return p, nil
}

func (p *Publisher) readAnswers() {
	in := bufio.NewReaderSize(p.conn, 64<<10)
	for {
		res, err := http.ReadResponse(in, nil)
		var body []byte
		if err == nil {
			body, err = io.ReadAll(res.Body)
		}
		if err == nil && (res.StatusCode != http.StatusOK || len(body) < 10 || string(body[:10]) != `{"result":`) {
			err = fmt.Errorf("publish: %s %s", res.Status, body)
		}
		if err != nil {
			p.failed <- err
			return
		}
		p.acks <- struct{}{}
	}
}

// Close ends the conn.
func (p *Publisher) Close() { _ = p.conn.Close() }

// Run publishes at a rate, a second, for a time. Each event is due at its place in the
// schedule; one that is late goes at once, and says when it was due. It returns how many it
// published, and how late the last acknowledgment came.
func (p *Publisher) Run(ctx context.Context, rate float64, d time.Duration) (published uint64, late time.Duration, err error) {
	start, origin := time.Now(), load.Monotonic()
	total := uint64(rate * d.Seconds())
	var request []byte
	acked := uint64(0)
	for i := range total {
		due := time.Duration(float64(i) / rate * 1e9)
		if wait := due - time.Since(start); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return i, 0, ctx.Err()
			}
		}
		p.seq++
		payload := load.AppendPayload(nil, p.seq, origin+int64(due), p.size)
		body := fmt.Sprintf(`{"channel":%q,"b64data":%q}`, p.topic, base64.StdEncoding.EncodeToString(payload))
		request = fmt.Appendf(request[:0], "POST /api/publish HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", p.admin, len(body), body)
		if _, err := p.conn.Write(request); err != nil {
			return i, 0, fmt.Errorf("publish: %w", err)
		}
		for drained := false; !drained; {
			select {
			case <-p.acks:
				acked++
			default:
				drained = true
			}
		}
	}
	for acked < total {
		select {
		case <-p.acks:
			acked++
		case err := <-p.failed:
			return acked, 0, err
		case <-ctx.Done():
			return acked, 0, ctx.Err()
		}
	}
	return total, time.Since(start) - d, nil
}
