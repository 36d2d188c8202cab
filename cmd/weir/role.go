package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"weir/cmd/weir/config"
)

// role says which parts of weir a process runs.
type role string

// The roles.
const (
	roleServe  role = "serve"  // all, with a bus of its own
	roleBroker role = "broker" // the bus
	roleEdge   role = "edge"   // what clients connect to, and its quotas; the bus is a broker's
	roleWorker role = "worker" // what clients connect to, of a serve or an edge that has the rest
)

// hasEdge reports whether clients connect to the process.
func (r role) hasEdge() bool { return r != roleBroker }

// brokerListen is where a broker listens unless it is told.
const brokerListen = "127.0.0.1:4222"

// apply makes a configuration, which all roles may share, that of a role: keys of others are left out,
// those that it needs and are missing are an error.
func (r role) apply(cfg *config.Config) error {
	switch r {
	case roleServe:
		cfg.Bus.Servers = nil
		if cfg.Workers.Workers > 0 {
			openToWorkers(&cfg.Bus)
		}
	case roleBroker:
		cfg.Bus.Servers = nil
		cfg.Workers.Workers = 0
		if cfg.Bus.Listen == "" {
			cfg.Bus.Listen = brokerListen
		}
		if cfg.Bus.Secret == "" && !isLoopback(cfg.Bus.Listen) {
			return fmt.Errorf("bus.secret is missing: no edge is let in without one, and bus.listen is %s, which other hosts reach: set WEIR_BUS_SECRET, bus.secret or bus.secret_file on the broker and on its edges (openssl rand -hex 24 makes one), or listen on 127.0.0.1", cfg.Bus.Listen)
		}
	case roleEdge:
		if len(cfg.Bus.Servers) == 0 {
			return &usageError{errors.New("an edge needs a broker: name it with --bus nats://HOST:4222 or bus.servers, or run weir serve, which has one of its own")}
		}
		if cfg.Bus.Secret == "" {
			return errors.New("bus.secret is missing: the broker lets an edge in by it: set WEIR_BUS_SECRET, bus.secret or bus.secret_file on both (openssl rand -hex 24 makes one)")
		}
		cfg.Bus.Listen = ""
	}
	return nil
}

// isLoopback reports whether only this host reaches an address, host:port.
func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
