// Package tracetest is a collector of spans for tests: it takes OTLP over HTTP, as protobuf, and keeps what came.
package tracetest

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is a span that came.
type Span struct {
	TraceID, SpanID, ParentID string // hexadecimal
	Name, TraceState, Service string
	Server, Client, Failed    bool
	Begin, End                time.Time
	// Attributes are texts, int64s, float64s, bools and lists of texts.
	Attributes map[string]any
}

// Collector is a collector that serves.
type Collector struct {
	// URL is where spans go.
	URL string

	mu     sync.Mutex
	status int // of answers; 0 is 200
	hold   chan struct{}
	spans  []Span
	header http.Header
	paths  []string
}

// New starts a collector, until the test has ended.
func New(tb testing.TB) *Collector {
	tb.Helper()
	c := &Collector{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.take(w, r); err != nil {
			tb.Errorf("a collector's request: %v", err)
		}
	}))
	c.URL = s.URL
	tb.Cleanup(func() {
		c.Hold(false)
		s.Close()
	})
	return c
}

// Answer has requests answered with a status, and their spans forgotten unless it is 200.
func (c *Collector) Answer(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
}

// Hold has requests wait, or go on.
func (c *Collector) Hold(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hold != nil {
		close(c.hold)
		c.hold = nil
	}
	if on {
		c.hold = make(chan struct{})
	}
}

// Spans are those that came so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Last is the head and the path of the last request, nil before one has come.
func (c *Collector) Last() (header http.Header, path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.paths) == 0 {
		return nil, ""
	}
	return c.header, c.paths[len(c.paths)-1]
}

func (c *Collector) take(w http.ResponseWriter, r *http.Request) error {
	c.mu.Lock()
	hold := c.hold
	c.header, c.paths = r.Header.Clone(), append(c.paths, r.URL.Path)
	c.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return nil
		}
	}
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return err
		}
		in = z
	}
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var q collectorpb.ExportTraceServiceRequest
	if err := proto.Unmarshal(b, &q); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status != 0 && c.status != http.StatusOK {
		w.WriteHeader(c.status)
		return nil
	}
	for _, resource := range q.GetResourceSpans() {
		service, _ := attributes(resource.GetResource().GetAttributes())["service.name"].(string) //nolint:errcheck // without one it is empty
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, spanOf(s, service))
			}
		}
	}
	return nil
}

func spanOf(s *tracepb.Span, service string) Span {
	at := func(ns uint64) time.Time { return time.Unix(0, int64(ns)) } //nolint:gosec // it is of these years
	return Span{
		TraceID: hex.EncodeToString(s.GetTraceId()), SpanID: hex.EncodeToString(s.GetSpanId()), ParentID: hex.EncodeToString(s.GetParentSpanId()),
		Name: s.GetName(), TraceState: s.GetTraceState(), Service: service,
		Server: s.GetKind() == tracepb.Span_SPAN_KIND_SERVER, Client: s.GetKind() == tracepb.Span_SPAN_KIND_CLIENT, Failed: s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
		Begin: at(s.GetStartTimeUnixNano()), End: at(s.GetEndTimeUnixNano()), Attributes: attributes(s.GetAttributes()),
	}
}

func attributes(pairs []*commonpb.KeyValue) map[string]any {
	all := map[string]any{}
	for _, p := range pairs {
		switch v := p.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			all[p.GetKey()] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			all[p.GetKey()] = v.IntValue
		case *commonpb.AnyValue_DoubleValue:
			all[p.GetKey()] = v.DoubleValue
		case *commonpb.AnyValue_BoolValue:
			all[p.GetKey()] = v.BoolValue
		case *commonpb.AnyValue_ArrayValue:
			list := []string{}
			for _, one := range v.ArrayValue.GetValues() {
				list = append(list, one.GetStringValue())
			}
			all[p.GetKey()] = list
		}
	}
	return all
}
