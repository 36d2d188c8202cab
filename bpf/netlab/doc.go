// Package netlab makes network namespaces joined by veth pairs: several hosts on one machine,
// for tests, the demo and benches. It needs root, and touches nothing but what it made.
package netlab
