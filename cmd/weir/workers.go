package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"weir/admin"
	"weir/bpf/steer"
	"weir/broker/bus"
	"weir/cmd/weir/config"
	"weir/edge/loop"
	"weir/edge/workers"
	"weir/ratelimit"
	"weir/ratelimit/kernel"
)

// workersLinger is how long after the window of a drain a worker may take to end.
const workersLinger = 30 * time.Second

var errWorkersTakeover = &usageError{errors.New("--takeover does not go with workers: their connections cannot be moved yet: stop the weir that serves, or run without --workers and edge.workers")}

// workerConfig is what a worker is sent, by a socket alone: it has secrets.
type workerConfig struct {
	YAML, Secret string
	// Keys are those of auth.keys, as they were when this process started: all workers have the same.
	Keys []config.AuthKey
}

// openToWorkers has the bus of a weir serve let in its workers, and nobody else that was not let in before.
func openToWorkers(b *bus.Config) {
	if b.Secret == "" {
		b.Secret = rand.Text()
	}
	if b.Listen == "" {
		b.Listen, b.NoGuests = "127.0.0.1:0", true
	}
}

func (n *node) newWorkers() (*workers.Group, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("edge.workers is %d: workers need Linux: leave it out: %w", n.cfg.Workers.Workers, errors.ErrUnsupported)
	}
	steering := &steering{node: n}
	return workers.New(workers.Options{
		Workers: n.cfg.Workers.Workers,
		Listen:  n.cfg.Edge.Listen, TLSListen: n.cfg.Edge.TLSListen,
		Command: n.workerCommand,
		Config:  n.workerConfig,
		Listeners: func(worker int, places []workers.Place, width int) {
			steering.place(worker, places, width)
			if t := n.tenure.Load(); t != nil {
				t.guard.refresh()
			}
		},
		StopTimeout: n.cfg.Edge.DrainTimeout + workersLinger,
	}, n.log)
}

// workerCommand is a process of this program. What it is told by variables is told by its configuration.
func (n *node) workerCommand() *exec.Cmd {
	cmd := exec.Command(workers.Program, "edge-worker")
	cmd.Args[0] = "weir"
	cmd.Env = []string{}
	for _, kv := range n.environ {
		if !strings.HasPrefix(kv, "WEIR_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Stdout, cmd.Stderr = n.stderr, n.stderr
	return cmd
}

// workerConfig is the node's as a worker has it: its share of what holds for all, and no other part than
// an edge of the node's bus.
func (n *node) workerConfig() ([]byte, error) {
	c := shareOf(n.cfg)
	if !n.bus.Remote() {
		at := n.bus.ListenAddr()
		if at == nil {
			return nil, errors.New("the bus does not run")
		}
		c.Bus.Servers = []string{"nats://" + reachable(at)}
	}
	return json.Marshal(workerConfig{c.Print(), c.Bus.Secret, c.Auth.Material})
}

// shareOf is a worker's part of a configuration.
func shareOf(cfg *config.Config) *config.Config {
	c := *cfg
	of := c.Workers.Workers
	c.Workers.Workers = 0
	c.Edge.Takeover = loop.TakeoverOff
	if !cfg.Given("edge.loops") {
		c.Edge.Loops = 0
	}
	if !cfg.Given("edge.max_conns") {
		c.Edge.MaxConns = 0
	}
	c.Edge.Loops = workers.Share(c.Edge.Loops, of)
	c.Edge.MaxConns = workers.Share(c.Edge.MaxConns, of)
	c.Edge.MaxConnsPerPrefix = workers.Share(c.Edge.MaxConnsPerPrefix, of)
	c.Edge.MaxConnsPerIdentity = workers.Share(c.Edge.MaxConnsPerIdentity, of)
	c.Edge.MaxHeldBytes = max(workers.Share(c.Edge.MaxHeldBytes, of), 1<<20)
	for _, r := range []*ratelimit.Rate{&c.Edge.AcceptRate, &c.Edge.AcceptRatePerPrefix} {
		r.Count = workers.Share(r.Count, of)
	}
	c.Admin = admin.Config{}.Defaults()
	c.XDP, c.Trace = config.Default().XDP, config.Default().Trace
	c.XDP.Enabled = "off"
	c.Bus.Dir, c.Bus.Storage, c.Bus.Listen, c.BusSecretFile = "", "", "", ""
	return &c
}

// wantedOfOne is how many connections one process is to hold.
func wantedOfOne(cfg *config.Config) int {
	if !cfg.Given("edge.max_conns") {
		return cfg.Edge.MaxConns
	}
	return workers.Share(cfg.Edge.MaxConns, cfg.Workers.Workers)
}

// workersPeers is where the workers of a weir serve connect to its bus from, if quotas hold there.
func (n *node) workersPeers() []kernel.Peer {
	if n.workers == nil || n.bus.Remote() || n.cfg.XDP.Interface != "lo" {
		return nil
	}
	host, _, err := net.SplitHostPort(reachable(n.bus.ListenAddr()))
	if err != nil {
		return nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	return []kernel.Peer{{Addr: addr.Unmap(), Why: "the workers, at the bus"}}
}

// steering gives each worker the connections of its CPUs, where that is possible.
type steering struct {
	node *node
	mu   sync.Mutex
	prog *steer.Steer
	off  bool
}

// place takes in a worker's listeners, in the place of those that it had before.
func (s *steering) place(worker int, places []workers.Place, width int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off {
		return
	}
	if len(places) == 0 {
		s.off = true
		s.node.log.Info("connections are spread over workers by the kernel's hash: their number is no multiple of that of CPUs", "workers", s.node.cfg.Workers.Workers)
		return
	}
	err := s.load(width)
	for _, p := range places {
		if err == nil {
			err = s.prog.Place(p.CPU, p.K, p.Listener)
		}
	}
	if err == nil {
		err = s.prog.Attach(places[0].Listener)
	}
	if err != nil {
		s.off = s.prog == nil
		s.node.log.Info("connections are spread over workers by the kernel's hash, not by CPU", "worker", worker, "err", err)
	}
}

// load loads the program with the first listeners.
func (s *steering) load(width int) (err error) {
	if s.prog == nil {
		s.prog, err = steer.New(possibleCPUs, width)
	}
	return err
}

// possibleCPUs is above the number of any CPU (the kernel's NR_CPUS).
const possibleCPUs = 8192
