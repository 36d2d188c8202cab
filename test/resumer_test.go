package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"weir/broker"
	"weir/edge/ws"
)

// resumer is a client that keeps its place in each of its topics, connects again whenever its
// connection ends, and holds what it is sent to the promise: every event once, in order, and never
// told that one may be missing. Each topic's events are {"n":1}, {"n":2} and so on.
type resumer struct {
	edges  []string
	topics []string

	mu      sync.Mutex
	seen    map[string]uint64 // n of the last event
	since   map[string]string
	wrong   []string
	resumes int
}

func newResumer(edges []string, topics ...string) *resumer {
	return &resumer{edges: edges, topics: topics, seen: map[string]uint64{}, since: map[string]string{}}
}

// run serves until ctx ends.
func (r *resumer) run(ctx context.Context) {
	for ctx.Err() == nil {
		_ = r.once(ctx) // however it ended, it connects again
		select {
		case <-ctx.Done():
		case <-time.After(5*time.Millisecond + rand.N(200*time.Millisecond)):
		}
	}
}

// target is what it asks for: its topics, each from where it is.
func (r *resumer) target() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	query := url.Values{"format": {"json"}, "topic": r.topics}
	for _, t := range r.topics {
		if at := r.since[t]; at != "" {
			query.Add("since", at)
		}
	}
	return "/ws?" + query.Encode()
}

// placed reports whether it knows its place in all of its topics.
func (r *resumer) placed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.since) == len(r.topics)
}

// once is one connection.
func (r *resumer) once(ctx context.Context) error {
	d := net.Dialer{Timeout: 2 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", r.edges[rand.IntN(len(r.edges))])
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing more is to be sent
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	if _, err := conn.Write(ws.AppendClientHandshake(nil, "x", r.target(), key)); err != nil {
		return err
	}
	buf, err := readHead(conn)
	if err != nil {
		return err
	}
	end := bytes.Index(buf, []byte("\r\n\r\n")) + 4
	if err := ws.CheckServerHandshake(buf[:end], key); err != nil {
		return err
	}
	return r.frames(conn, buf[end:])
}

// readHead reads up to the end of an answer's head, and what came with it.
func readHead(conn net.Conn) (buf []byte, err error) {
	part := make([]byte, 4<<10)
	for !bytes.Contains(buf, []byte("\r\n\r\n")) {
		n, err := conn.Read(part)
		if err != nil {
			return nil, err
		}
		buf = append(buf, part[:n]...)
	}
	return buf, nil
}

func (r *resumer) frames(conn net.Conn, buf []byte) error {
	var decoder ws.Decoder
	limits := ws.Limits{MaxFrameBytes: 1 << 20, MaxMessageBytes: 1 << 20}
	part := make([]byte, 4<<10)
	for {
		f, n, err := decoder.Next(buf, &limits)
		if errors.Is(err, ws.ErrShort) {
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			got, err := conn.Read(part)
			if err != nil {
				return err
			}
			buf = append(buf, part[:got]...)
			continue
		}
		if err != nil {
			r.note("a frame: %v", err)
			return err
		}
		switch f.OpCode {
		case ws.OpPing:
			_, err = conn.Write(ws.AppendMaskedFrame(nil, ws.OpPong, true, [4]byte{1, 2, 3, 4}, f.Payload))
		case ws.OpClose:
			return io.EOF
		default:
			r.take(f.Payload)
		}
		if err != nil {
			return err
		}
		buf = append(buf[:0], buf[n:]...)
	}
}

// take holds a message to the promise.
func (r *resumer) take(payload []byte) {
	var m struct {
		Topic, Epoch string
		Offset       uint64
		Subscribed   bool
		Recovered    *bool
		Data         *struct{ N uint64 }
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		r.note("not JSON: %q", payload)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.seen[m.Topic]
	switch {
	case m.Recovered != nil && !*m.Recovered:
		r.noteLocked("%s: told that events may be missing after %d: %s", m.Topic, last, payload)
	case m.Subscribed:
		if r.since[m.Topic] != "" {
			r.resumes++
		}
	case m.Data == nil || m.Data.N != last+1:
		r.noteLocked("%s: %s after %d", m.Topic, payload, last)
	default:
		r.seen[m.Topic] = m.Data.N
	}
	r.since[m.Topic] = fmt.Sprintf("%s:%d", m.Epoch, m.Offset)
}

func (r *resumer) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noteLocked(format, args...)
}

// noteLocked keeps the first mistakes.
func (r *resumer) noteLocked(format string, args ...any) {
	if len(r.wrong) < 3 {
		r.wrong = append(r.wrong, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
	}
}

// lacks says what it has not got of how many of each topic; empty if nothing. By a pattern it has all.
func (r *resumer) lacks(published map[string]uint64) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	topics := r.topics
	if broker.Pattern(topics[0]).Wild() {
		topics = slices.Sorted(maps.Keys(published))
	}
	for _, t := range topics {
		if r.seen[t] != published[t] {
			return fmt.Sprintf("%s: %d of %d, at %s", t, r.seen[t], published[t], r.since[t])
		}
	}
	return ""
}
