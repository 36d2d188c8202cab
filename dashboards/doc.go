// Package dashboards is what an operator imports: dashboards for Grafana, and recording rules and alerts for Prometheus.
//
// They are written as Go values and rendered to files that are committed: grafana/*.json, rules/*.yml and
// docs/ALERTS.md. A test fails if a file is not what the values render to; `go generate` writes them anew. Nothing
// of this is in the binary.
package dashboards

//go:generate go run ./generate
