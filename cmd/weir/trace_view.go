package main

import (
	"bytes"
	"context"
	"strings"
	"sync"

	"weir/cmd/weir/traceview"
)

// view shows the tracers on a terminal, and leaves there what each has counted when it ends.
func (c *traceCmd) view(ctx context.Context, a *app, all []*openTracer) error {
	for _, t := range all {
		t.keeps = true
	}
	if err := traceview.Run(ctx, &viewed{all: all}, c.Interval, a.stdin, a.stdout); err != nil {
		return err
	}
	for _, t := range all {
		r, err := t.report(t.Tracer)
		if err == nil {
			err = r.print(a.stdout)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// viewed is tracers as a view reads them.
type viewed struct {
	mu  sync.Mutex
	all []*openTracer
}

var _ traceview.Source = (*viewed)(nil)

// Names implements [traceview.Source].
func (v *viewed) Names() (names []string) {
	for _, t := range v.all {
		names = append(names, t.About().Name)
	}
	return names
}

// Read implements [traceview.Source].
func (v *viewed) Read(i int) (traceview.Reading, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.all[i]
	r, err := t.report(t.Tracer)
	if err != nil {
		return traceview.Reading{}, err
	}
	return readingOf(r)
}

// Reset implements [traceview.Source].
func (v *viewed) Reset(i int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.all[i]
	return t.begin(t.Tracer)
}

// readingOf is a report as a view shows it.
func readingOf(r *traceReport) (traceview.Reading, error) {
	out := traceview.Reading{Question: r.Tracer + ": " + r.question, Of: r.Of, At: r.At, Seconds: r.Seconds, Cost: r.costLine()}
	for i := range r.Histograms {
		h := &r.Histograms[i]
		one := traceview.Histogram{Name: h.Name, Summary: h.summary()}
		for _, b := range h.filled() {
			one.Buckets = append(one.Buckets, traceview.Bucket{Label: b.label(), Count: b.Count})
		}
		out.Histograms = append(out.Histograms, one)
	}
	var rest bytes.Buffer
	if err := r.printRest(&rest); err != nil {
		return out, err
	}
	if text := strings.TrimRight(rest.String(), "\n"); text != "" {
		out.Lines = strings.Split(text, "\n")
	}
	return out, nil
}
