// Package access is what is kept of requests that have ended: counters and native histograms for Prometheus, by route and by
// policy, and a sampled log with a line of JSON each. Both ways of the gateway hand it the same [Record].
package access
