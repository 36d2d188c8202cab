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

// Publisher publishes numbered events to one topic, in order: through the admin API, pipelined on
// one conn, or as lines to a server that takes them so.
type Publisher struct {
	out    io.WriteCloser
	append func(dst, payload []byte) []byte // a request
	size   int
	seq    uint64
	failed chan error
	acks   chan struct{} // nil: there are none
}

// NewPublisher connects to the admin address, host:port.
func NewPublisher(ctx context.Context, dial func(ctx context.Context, network, addr string) (net.Conn, error), admin, topic string, size int) (*Publisher, error) {
	conn, err := dial(ctx, "tcp", admin)
	if err != nil {
		return nil, fmt.Errorf("connect to the admin address %s: %w", admin, err)
	}
	request := func(dst, payload []byte) []byte {
		body := fmt.Sprintf(`{"channel":%q,"b64data":%q}`, topic, base64.StdEncoding.EncodeToString(payload))
		return fmt.Appendf(dst, "POST /api/publish HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", admin, len(body), body)
	}
	p := &Publisher{out: conn, append: request, size: size, failed: make(chan error, 1), acks: make(chan struct{}, 1<<16)}
	go p.readAnswers(conn)
	return p, nil
}

// newLinePublisher writes a line an event, which nobody acknowledges.
func newLinePublisher(out io.WriteCloser, size int) *Publisher {
	line := func(dst, payload []byte) []byte { return append(append(dst, payload...), '\n') }
	return &Publisher{out: out, append: line, size: size}
}

func (p *Publisher) readAnswers(conn io.Reader) {
	in := bufio.NewReaderSize(conn, 64<<10)
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

// Close ends the conn, or the server's input.
func (p *Publisher) Close() { _ = p.out.Close() }

// Run publishes at a rate, a second, for a time. Each event is due at its place in the
// schedule; one that is late goes at once, and says when it was due. It returns how many it
// published, and how late the last acknowledgment came, or the last one left if there are none.
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
		request = p.append(request[:0], payload)
		if _, err := p.out.Write(request); err != nil {
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
	for p.acks != nil && acked < total {
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
