package main

import (
	"runtime"

	"weir/bpf/latency"
	"weir/internal/hoststats"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// besides are the metrics of every process that has a page of them: of itself, by its tracers if it has some, and of the host beside it.
// When it started is among the process's own.
func besides(d *drift, traces *latency.Export) []prometheus.Collector {
	all := []prometheus.Collector{
		buildInfo(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), hoststats.New(""), d,
	}
	if traces != nil {
		all = append(all, traces)
	}
	return all
}

// buildInfo says of which release a process is.
func buildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_build_info", Help: "1, of the release of weir that runs and the version of Go that it was built with.",
		ConstLabels: prometheus.Labels{"release": version(), "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}
