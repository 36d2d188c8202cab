package access

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"weir/gateway/policy"
)

// LogConfig configures a [Log].
type LogConfig struct {
	// Sample is the part of the requests that were admitted and answered below 500 that has a line, 0 to 1.
	Sample float64
	// Refused and Failed have a line of each request that was refused, or answered with 500 or above, or not whole.
	Refused, Failed bool
}

// Log writes a line of JSON for requests, by a goroutine of its own: a writer that blocks has lines dropped, and nobody
// waits.
type Log struct {
	cfg     LogConfig
	lines   chan []byte
	queued  atomic.Int64 // bytes of lines
	dropped atomic.Uint64
	written atomic.Uint64
}

// Bounds of a Log.
const (
	// maxLines and maxQueued bound what waits for the writer, lines and bytes.
	maxLines, maxQueued = 4096, 8 << 20
	// maxPath and maxText bound what a client sent, bytes: of more there is the begin.
	maxPath, maxText = 2 << 10, 256
	flushBytes       = 64 << 10
	flushEvery       = 100 * time.Millisecond
)

// ErrBadSample says that [LogConfig.Sample] is out of range.
var ErrBadSample = errors.New("want a part from 0 to 1")

// NewLog returns a Log, which writes nothing before [Log.Run].
func NewLog(cfg LogConfig) (*Log, error) {
	if !(cfg.Sample >= 0 && cfg.Sample <= 1) {
		return nil, ErrBadSample
	}
	return &Log{cfg: cfg, lines: make(chan []byte, maxLines)}, nil
}

// line is a line's fields.
type line struct {
	Time      string   `json:"time"`
	Client    string   `json:"client"`
	Identity  string   `json:"identity,omitempty"`
	Method    string   `json:"method"`
	Host      string   `json:"host"`
	Path      string   `json:"path"`
	Proto     string   `json:"proto"`
	Status    int      `json:"status"`
	Cut       bool     `json:"cut,omitempty"`
	Outcome   string   `json:"outcome"`
	Route     string   `json:"route,omitempty"`
	Limited   []string `json:"limited,omitempty"`
	Shadowed  []string `json:"shadowed,omitempty"`
	Received  int64    `json:"received_bytes"`
	Sent      int64    `json:"sent_bytes"`
	Seconds   float64  `json:"seconds"`
	Upstream  float64  `json:"upstream_seconds,omitempty"`
	Added     float64  `json:"added_seconds"`
	Server    string   `json:"server,omitempty"`
	Attempts  int      `json:"attempts,omitempty"`
	RequestID string   `json:"request_id,omitempty"`
	TraceID   string   `json:"trace_id,omitempty"`
	Error     string   `json:"error,omitempty"`
}

// Observe writes a request's line, if it is to have one. Nothing is allocated for one that has none.
func (l *Log) Observe(r *Record) {
	if !l.wants(r) {
		return
	}
	text := lineOf(r)
	if l.queued.Add(int64(len(text))) <= maxQueued {
		select {
		case l.lines <- text:
			return
		default:
		}
	}
	l.queued.Add(-int64(len(text)))
	l.dropped.Add(1)
}

// lineOf is a request's line, with its end. It has no query, and no credential: of a client there is what it is known as.
func lineOf(r *Record) []byte {
	out := line{
		Time: r.Begun.UTC().Format(time.RFC3339Nano), Identity: short(r.Identity, maxText),
		Method: short(r.Method, maxText), Host: short(afterUser(r.Host), maxText), Path: short(r.Path, maxPath), Proto: r.Proto,
		Status: r.Status, Cut: r.Cut, Outcome: r.Outcome.String(), Route: r.Route, Limited: r.Limited(false), Shadowed: r.Limited(true),
		Received: r.Received, Sent: r.Sent, Seconds: r.Total.Seconds(), Upstream: r.Upstream.Seconds(), Added: r.Added.Seconds(),
		Server: r.Server, Attempts: r.Attempts, RequestID: short(r.RequestID, maxText), TraceID: r.TraceID,
	}
	if r.Client.IsValid() {
		out.Client = r.Client.String()
	}
	if r.Err != nil {
		out.Error = short(r.Err.Error(), maxText)
	}
	text, err := json.Marshal(&out)
	if err != nil { // all of it can be JSON
		panic(err)
	}
	return append(text, '\n')
}

// short is a text's begin, of at most so many bytes.
func short(s string, most int) string { return s[:min(len(s), most)] }

// afterUser is an authority without user:password@, which nobody is to send.
func afterUser(host string) string { return host[strings.LastIndexByte(host, '@')+1:] }

func (l *Log) wants(r *Record) bool {
	switch {
	case r.Outcome != policy.Admitted:
		return l.cfg.Refused || l.drawn()
	case r.Failed() || r.Err != nil:
		return l.cfg.Failed || l.drawn()
	}
	return l.drawn()
}

func (l *Log) drawn() bool {
	return l.cfg.Sample > 0 && (l.cfg.Sample >= 1 || rand.Float64() < l.cfg.Sample) //nolint:gosec // a sample is no secret
}

// Run writes lines to w until done is closed and all are written. An error of w's loses the lines and is counted.
func (l *Log) Run(done <-chan struct{}, w io.Writer) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var gathered []byte
	count := uint64(0)
	flush := func() {
		if len(gathered) == 0 {
			return
		}
		if _, err := w.Write(gathered); err != nil {
			l.dropped.Add(count)
		} else {
			l.written.Add(count)
		}
		gathered, count = gathered[:0], 0
	}
	add := func(text []byte) {
		l.queued.Add(-int64(len(text)))
		gathered = append(gathered, text...)
		if count++; len(gathered) >= flushBytes {
			flush()
		}
	}
	for {
		select {
		case text := <-l.lines:
			add(text)
		case <-tick.C:
			flush()
		case <-done:
			for {
				select {
				case text := <-l.lines:
					add(text)
				default:
					flush()
					return
				}
			}
		}
	}
}

// Stats are the lines written so far, and those that were dropped since the writer was too slow or failed.
func (l *Log) Stats() (written, dropped uint64) { return l.written.Load(), l.dropped.Load() }
