package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"weir/bpf/latency"
	"weir/cmd/weir/config"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// printer writes a report: as JSON, or in words.
func (c *traceCmd) printer(out io.Writer) func(*traceReport) error {
	if c.JSON {
		lines := json.NewEncoder(out)
		return func(r *traceReport) error { return lines.Encode(r) }
	}
	return func(r *traceReport) error { return r.print(out) }
}

// watch prints a report of each tracer an interval, each of that interval alone.
func (c *traceCmd) watch(ctx context.Context, print func(*traceReport) error, all []*openTracer) error {
	if c.Duration == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultDuration)
		defer cancel()
	}
	ticker := time.NewTicker(c.Interval)
	defer ticker.Stop()
	for last := false; !last; {
		select {
		case <-ctx.Done():
			last = true
		case <-ticker.C:
		}
		for _, t := range all {
			if last && t.hasJustReported(c.Interval) {
				continue
			}
			r, err := t.report(t.Tracer)
			if err == nil {
				err = print(r)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// metricsTimeout bounds the time for a request's head to come.
const metricsTimeout = 10 * time.Second

// serve has Prometheus read what the tracers count, until ctx ends.
func (c *traceCmd) serve(ctx context.Context, a *app) error {
	export, err := c.export(newLogger(a, config.Log{Level: "info", Format: "text"}))
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("serve what is traced: %w: name a free address with --listen", err)
	}
	export.Open()
	if err := unattached(export.States()); err != nil {
		return errors.Join(err, export.Close(), l.Close())
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(export, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: metricsTimeout}
	fmt.Fprintf(a.stderr, "serves http://%s/metrics until it is interrupted\n", reachable(l.Addr()))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(l)
		cancel()
	}()
	err = export.Run(ctx)
	_ = server.Close() // whoever reads it now reads it again
	if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

// export is the tracers as the flags have them.
func (c *traceCmd) export(log *slog.Logger) (*latency.Export, error) {
	var pids func() ([]int, error)
	switch {
	case len(c.PID) > 0:
		pids = func() ([]int, error) { return slices.Clone(c.PID), nil }
	case !c.All:
		pids = func() ([]int, error) { return processesOf("/proc", c.Comm) }
	}
	for _, name := range c.What {
		about := aboutOf(name)
		cfg := latency.Config{}
		if about.PIDs || !c.any(func(a latency.About) bool { return a.PIDs }) {
			cfg.PIDs = c.PID
		}
		if about.Go && len(c.PID) == 0 && !c.All {
			cfg.PIDs = []int{os.Getpid()} // in the place of those that --comm may find
		}
		if about.Ports || !c.any(func(a latency.About) bool { return a.Ports }) {
			cfg.Ports = c.Port
		}
		if err := cfg.Validate(name); err != nil {
			return nil, &usageError{err}
		}
	}
	export, err := latency.NewExport(latency.ExportConfig{Tracers: c.What, PIDs: pids, Ports: c.Port, Threshold: c.Threshold, Budget: c.Budget}, log)
	if err != nil {
		return nil, &usageError{err}
	}
	return export, nil
}

// unattached is an error if no tracer is, and none will be: those that wait for a process may.
func unattached(states map[string]latency.State) error {
	for _, s := range states {
		if s == latency.Attached || s == latency.NoProcess {
			return nil
		}
	}
	return errors.New("no tracer is attached: the log says why")
}
