package main

import (
	"runtime"

	"weir/internal/hoststats"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// besides are the metrics of every process that has a page of them: of itself, and of the host beside it. When it started is among
// the process's own.
func besides(d *drift) []prometheus.Collector {
	return []prometheus.Collector{
		buildInfo(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), hoststats.New(""), d,
	}
}

// buildInfo says of which release a process is.
func buildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_build_info", Help: "1, of the release of weir that runs and the version of Go that it was built with.",
		ConstLabels: prometheus.Labels{"release": version(), "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}
