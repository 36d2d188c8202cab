// Package gateway is an API gateway with per-client quotas: the facade over its rules (gateway/policy), the servers behind it
// (gateway/upstream), the way to them (gateway/proxy), and what asks its policies for an Envoy (gateway/rls).
//
// A [Server] listens, has conns let in, speaks TLS if it is told to, and serves by a configuration that [Server.Reload] replaces as
// a whole: what is wrong in any of it leaves everything as it was, and no request is dropped.
package gateway
