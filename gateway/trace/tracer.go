package trace

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"weir/gateway/access"
	"weir/gateway/policy"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// Bounds of a Tracer.
const (
	// maxQueued bounds the requests whose spans wait to be made, about a KiB each.
	maxQueued = 4096
	// batch is how many requests' spans are sent at once, after batchTime at the latest.
	batch     = 512
	batchTime = time.Second
	// patience bounds how long a batch is tried to be sent, lastPatience that of each as weir ends.
	patience     = 10 * time.Second
	lastPatience = 2 * time.Second
	// maxText bounds what of a client's text a span has, bytes.
	maxText = 1 << 10
)

// Tracer traces requests. Its methods may be called from any goroutine; Run by one.
type Tracer struct {
	cfg      Config
	bound    uint64 // of a trace's number, which are sampled below it
	spans    *maker
	exporter exporter
	ended    chan *access.Record
	dropped  atomic.Uint64
	sent     atomic.Uint64
	failed   atomic.Uint64
	last     atomic.Pointer[string]
}

// exporter is what spans are sent by.
type exporter interface {
	ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error
	Shutdown(ctx context.Context) error
}

// Stats are spans by what became of them: sent, dropped as too many waited, failed as no collector took them.
type Stats struct {
	Sent, Dropped, Failed uint64
	// LastError is why spans failed last, empty if none have.
	LastError string
}

// New returns a Tracer, which sends nothing before [Tracer.Run], and does not look for the collector.
func New(cfg Config) (*Tracer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Service == "" {
		cfg.Service = "weir-gateway"
	}
	at, err := cfg.url()
	if err != nil {
		return nil, err
	}
	e, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(at), otlptracehttp.WithHeaders(cfg.Header),
		otlptracehttp.WithTimeout(patience), otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: time.Second, MaxInterval: patience / 2, MaxElapsedTime: patience}))
	if err != nil {
		return nil, fmt.Errorf("send spans to gateway.trace_endpoint: %w", err)
	}
	return newTracer(cfg, e), nil
}

func newTracer(cfg Config, e exporter) *Tracer {
	return &Tracer{cfg: cfg, bound: boundOf(cfg.Sample), spans: newMaker(cfg.Service, cfg.Version), exporter: e, ended: make(chan *access.Record, maxQueued)}
}

// boundOf is which of 2^63 numbers are sampled.
func boundOf(part float64) uint64 {
	if part >= 1 {
		return math.MaxUint64
	}
	return uint64(part * (1 << 63))
}

// Start begins a request's trace, or has one that it comes with go on; trusted says that a trusted proxy sent it. Nothing is
// allocated.
func (t *Tracer) Start(r *access.Record, f policy.Fields, trusted bool) {
	span := newSpan()
	if t.cfg.From == FromAll || trusted && t.cfg.From == FromProxies {
		if text, ok := f.At("Traceparent", 0); ok {
			_, second := f.At("Traceparent", 1)
			if p, ok := parse(text); ok && !second {
				r.Trace.Begin(p.id, span, p.sampled)
				r.Trace.Parent, r.Trace.Continued = p.span, true
				if p.sampled {
					r.Trace.State, _ = f.At("Tracestate", 0)
				}
				return
			}
		}
	}
	var id [16]byte
	for id == [16]byte{} {
		binary.BigEndian.PutUint64(id[:], rand.Uint64())  //nolint:gosec // it tells traces apart, and is no secret
		binary.BigEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // as above
	}
	r.Trace.Begin(id, span, binary.BigEndian.Uint64(id[8:])>>1 < t.bound)
}

func newSpan() (span [8]byte) {
	for span == [8]byte{} {
		binary.BigEndian.PutUint64(span[:], rand.Uint64()) //nolint:gosec // it tells spans apart, and is no secret
	}
	return span
}

// Observe has a span made of a request that has ended, if it is sampled: else nothing is allocated. It does not wait.
func (t *Tracer) Observe(r *access.Record) {
	if !r.Trace.Sampled() {
		return
	}
	if len(t.ended) == cap(t.ended) {
		t.dropped.Add(spansOf(r))
		return
	}
	select {
	case t.ended <- kept(r):
	default:
		t.dropped.Add(spansOf(r))
	}
}

// spansOf is how many a request has.
func spansOf(r *access.Record) uint64 { return 1 + uint64(len(r.Tries)) }

// kept is a copy of a record that lives on.
func kept(r *access.Record) *access.Record {
	c := *r
	for _, s := range []*string{&c.Method, &c.Host, &c.Path, &c.RequestID, &c.Trace.State} {
		*s = strings.Clone((*s)[:min(len(*s), maxText)])
	}
	c.TraceID, c.Identity = "", ""
	c.Policies, c.Tries = slices.Clone(r.Policies), slices.Clone(r.Tries)
	return &c
}

// Stats is what was counted so far.
func (t *Tracer) Stats() Stats {
	s := Stats{Sent: t.sent.Load(), Dropped: t.dropped.Load(), Failed: t.failed.Load()}
	if last := t.last.Load(); last != nil {
		s.LastError = *last
	}
	return s
}

// Run makes spans and sends them until ctx ends, then those that wait.
func (t *Tracer) Run(ctx context.Context) {
	tick := time.NewTicker(batchTime)
	defer tick.Stop()
	var gathered []*access.Record
	for {
		select {
		case r := <-t.ended:
			if gathered = append(gathered, r); len(gathered) == batch {
				gathered = t.send(ctx, gathered, patience)
			}
		case <-tick.C:
			gathered = t.send(ctx, gathered, patience)
		case <-ctx.Done():
			t.finish(context.WithoutCancel(ctx), gathered)
			return
		}
	}
}

// finish sends what waits, until a batch fails.
func (t *Tracer) finish(ctx context.Context, gathered []*access.Record) {
	for {
		for len(t.ended) > 0 && len(gathered) < batch {
			gathered = append(gathered, <-t.ended)
		}
		if len(gathered) == 0 {
			break
		}
		failed := t.failed.Load()
		if gathered = t.send(ctx, gathered, lastPatience); t.failed.Load() > failed {
			for len(t.ended) > 0 {
				t.failed.Add(spansOf(<-t.ended))
			}
			break
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lastPatience)
	defer cancel()
	_ = t.exporter.Shutdown(ctx) // nothing waits in it
}

// send sends spans of some records, and returns their memory.
func (t *Tracer) send(ctx context.Context, some []*access.Record, patience time.Duration) []*access.Record {
	if len(some) == 0 {
		return some
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	made := t.spans.make(some)
	n := uint64(len(made))
	if err := t.exporter.ExportSpans(ctx, made); err != nil {
		t.failed.Add(n)
		text := err.Error()
		t.last.Store(&text)
	} else {
		t.sent.Add(n)
	}
	clear(some)
	return some[:0]
}
