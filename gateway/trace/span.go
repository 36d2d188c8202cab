package trace

import (
	"context"
	"net"
	"strconv"
	"strings"

	"weir/gateway/access"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	otel "go.opentelemetry.io/otel/trace"
)

// scope is what spans say made them.
const scope = "weir/gateway"

// maker makes spans. It is for one goroutine.
type maker struct {
	provider *sdk.TracerProvider
	tracer   otel.Tracer
	made     []sdk.ReadOnlySpan
}

func newMaker(service, version string) *maker {
	about := []attribute.KeyValue{semconv.ServiceName(service)}
	if version != "" {
		about = append(about, semconv.ServiceVersion(version))
	}
	m := &maker{}
	m.provider = sdk.NewTracerProvider(sdk.WithSampler(sdk.AlwaysSample()), sdk.WithIDGenerator(given{}), // Start has decided both
		sdk.WithSpanProcessor((*collector)(m)), sdk.WithResource(resource.NewWithAttributes(semconv.SchemaURL, about...)))
	m.tracer = m.provider.Tracer(scope)
	return m
}

// make is the spans of each record, lent until the next call.
func (m *maker) make(some []*access.Record) []sdk.ReadOnlySpan {
	m.made = m.made[:0]
	for _, r := range some {
		m.span(r)
	}
	return m.made
}

// span makes the server span of a request, and the client spans of its attempts.
func (m *maker) span(r *access.Record) {
	id, span := r.Trace.IDs()
	ctx := context.WithValue(context.Background(), givenKey{}, ids{id, span})
	if r.Trace.Parent != [8]byte{} {
		state, _ := otel.ParseTraceState(r.Trace.State) //nolint:errcheck // one that is wrong is left out: W3C Trace Context, section 3.3.1.5
		ctx = otel.ContextWithRemoteSpanContext(ctx, otel.NewSpanContext(otel.SpanContextConfig{
			TraceID: id, SpanID: r.Trace.Parent, TraceFlags: otel.FlagsSampled, TraceState: state, Remote: true,
		}))
	}
	ctx, s := m.tracer.Start(ctx, nameOf(r), otel.WithSpanKind(otel.SpanKindServer), otel.WithTimestamp(r.Begun), otel.WithAttributes(attributes(r)...))
	if r.Failed() {
		s.SetStatus(codes.Error, "")
	}
	s.End(otel.WithTimestamp(r.Begun.Add(r.Total)))
	for i := range r.Tries {
		m.try(ctx, r, i)
	}
}

// try makes the client span of the i-th attempt of a request, whose span ctx has. One whose end is not known ends with the request.
func (m *maker) try(ctx context.Context, r *access.Record, i int) {
	t := &r.Tries[i]
	id, _ := r.Trace.IDs()
	end := t.Begun.Add(t.Took)
	if !t.Ended {
		end = r.Begun.Add(r.Total)
	}
	method := methodOf(r, "_OTHER")
	all := append([]attribute.KeyValue{semconv.HTTPRequestMethodKey.String(method), attribute.Int("weir.upstream.attempt", i+1)}, serverOf(t.Server)...)
	if method != r.Method {
		all = append(all, semconv.HTTPRequestMethodOriginal(utf8(r.Method)))
	}
	if i > 0 {
		all = append(all, semconv.HTTPRequestResendCount(i))
	}
	if t.Status != 0 {
		all = append(all, semconv.HTTPResponseStatusCode(t.Status))
	}
	failure := t.Failure
	if failure == "" && t.Status >= 400 { // of a client's span, 4xx too
		failure = strconv.Itoa(t.Status)
	}
	if failure != "" {
		all = append(all, semconv.ErrorTypeKey.String(failure))
	}
	ctx = context.WithValue(ctx, givenKey{}, ids{id, t.Span})
	_, s := m.tracer.Start(ctx, methodOf(r, "HTTP"), otel.WithSpanKind(otel.SpanKindClient), otel.WithTimestamp(t.Begun), otel.WithAttributes(all...))
	if failure != "" {
		s.SetStatus(codes.Error, "")
	}
	s.End(otel.WithTimestamp(end))
}

// methodOf is a method as attributes have it: other is what comes in place of one that nobody knows.
func methodOf(r *access.Record, other string) string {
	switch r.Method {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY":
		return r.Method
	}
	return other
}

// nameOf is a span's name, of which there are few.
func nameOf(r *access.Record) string {
	name := methodOf(r, "HTTP")
	if r.RoutePath != "" {
		name += " " + r.RoutePath
	}
	return name
}

// attributes are by the semantic conventions of HTTP servers, and below weir. those of the gateway.
func attributes(r *access.Record) []attribute.KeyValue {
	scheme := "http"
	if r.TLS {
		scheme = "https"
	}
	method := methodOf(r, "_OTHER")
	all := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(method), semconv.URLPath(utf8(r.Path)), semconv.URLScheme(scheme),
		semconv.NetworkProtocolVersion(versionOf(r.Proto)), attribute.String("weir.outcome", r.Outcome.String()),
		attribute.String("weir.request_id", utf8(r.RequestID)), attribute.Float64("weir.added_seconds", r.Added.Seconds()),
		attribute.Int64("http.request.body.size", r.Received), attribute.Int64("http.response.body.size", r.Sent),
	}
	if method != r.Method {
		all = append(all, semconv.HTTPRequestMethodOriginal(utf8(r.Method)))
	}
	if r.Route != "" {
		all = append(all, semconv.HTTPRoute(r.RoutePath), attribute.String("weir.route", r.Route))
	}
	if r.Status != 0 {
		all = append(all, semconv.HTTPResponseStatusCode(r.Status))
	}
	all = append(all, serverOf(r.Host)...)
	if r.Client.IsValid() {
		all = append(all, semconv.ClientAddress(r.Client.String()))
	}
	if r.Failed() {
		all = append(all, semconv.ErrorTypeKey.String(errorOf(r)))
	}
	if r.Attempts > 0 {
		all = append(all, attribute.String("weir.upstream.server", r.Server), attribute.Int("weir.upstream.attempts", r.Attempts),
			attribute.Float64("weir.upstream.seconds", r.Upstream.Seconds()))
	}
	for _, p := range []struct {
		key    string
		shadow bool
	}{{"weir.policies.limited", false}, {"weir.policies.shadowed", true}} {
		if names := r.Limited(p.shadow); len(names) > 0 {
			all = append(all, attribute.StringSlice(p.key, names))
		}
	}
	return all
}

// serverOf is whom the client asked for.
func serverOf(host string) []attribute.KeyValue {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.Atoi(port); err == nil {
			return []attribute.KeyValue{semconv.ServerAddress(utf8(name)), semconv.ServerPort(n)}
		}
	}
	if host == "" {
		return nil
	}
	return []attribute.KeyValue{semconv.ServerAddress(utf8(host))}
}

// errorOf is a class of errors, of which there are few.
func errorOf(r *access.Record) string {
	switch {
	case r.Status >= 500:
		return strconv.Itoa(r.Status)
	case r.Cut && r.Status != 0:
		return "cut"
	}
	return "_OTHER"
}

// versionOf is of HTTP/1.1 1.1, and of HTTP/2.0 2.
func versionOf(proto string) string {
	version := strings.TrimPrefix(proto, "HTTP/")
	if version == "1.0" {
		return version
	}
	return strings.TrimSuffix(version, ".0")
}

// utf8 is a text of a client's as a span may have it: a collector refuses all of a batch with one that is not UTF-8.
func utf8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// collector has what is made. The methods are [sdk.SpanProcessor]'s.
type collector maker

func (c *collector) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (c *collector) OnEnd(s sdk.ReadOnlySpan)                   { c.made = append(c.made, s) }
func (c *collector) Shutdown(context.Context) error             { return nil }
func (c *collector) ForceFlush(context.Context) error           { return nil }

// ids are what a span is to have, given by its context.
type ids struct {
	trace otel.TraceID
	span  otel.SpanID
}

type givenKey struct{}

// given is an [sdk.IDGenerator] of what contexts have.
type given struct{}

// NewIDs implements [sdk.IDGenerator].
func (given) NewIDs(ctx context.Context) (otel.TraceID, otel.SpanID) {
	i, _ := ctx.Value(givenKey{}).(ids) //nolint:errcheck // make gives it
	return i.trace, i.span
}

// NewSpanID implements [sdk.IDGenerator].
func (g given) NewSpanID(ctx context.Context, _ otel.TraceID) otel.SpanID {
	_, span := g.NewIDs(ctx)
	return span
}
