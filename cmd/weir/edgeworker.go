package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"weir/cmd/weir/config"
	"weir/edge/loop"
	"weir/edge/workers"

	"github.com/prometheus/client_golang/prometheus"
)

type edgeWorkerCmd struct{}

// Run is one of the processes that serve an edge, of the weir that started it.
func (*edgeWorkerCmd) Run(ctx context.Context, a *app) error {
	w, task, err := workers.Join()
	if err != nil {
		return &usageError{fmt.Errorf("%w: it is weir serve --workers that starts one", err)}
	}
	cfg, err := readWorkerConfig(task)
	if err != nil {
		return err
	}
	log := newLogger(a, cfg.Log).With("worker", task.Worker)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	n, err := newNode(ctx, roleWorker, cfg, log, a.environ, false)
	if err != nil {
		return err
	}
	defer n.close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(n.region, n.edge, n.bus, n.keys)
	answering, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	answered := make(chan error, 1)
	go func() {
		err := w.Run(answering, stop, func(ctx context.Context, q workers.Question) workers.Answer {
			return n.answer(ctx, q, registry)
		})
		stop() // an edge without its group ends
		answered <- err
	}()
	err = n.run(ctx, func() {
		if err := n.tellServes(w); err != nil {
			n.fail(err)
		}
		giveUp(log, n.later())
	})
	end()
	return errors.Join(err, <-answered)
}

// readWorkerConfig is the configuration of node.workerConfig, for the address of the task.
func readWorkerConfig(task workers.Task) (*config.Config, error) {
	var sent workerConfig
	if err := json.Unmarshal(task.Config, &sent); err != nil {
		return nil, fmt.Errorf("read a worker's configuration: %w", err)
	}
	cfg, err := config.Parse("a worker's configuration", []byte(sent.YAML))
	if err != nil {
		return nil, err
	}
	cfg.Bus.Secret, cfg.Auth.Material = sent.Secret, sent.Keys
	cfg.Edge.Listen, cfg.Edge.TLSListen, cfg.Edge.SharedPort = task.Address, task.TLSAddress, true
	if cfg.Edge.Loops == 0 && !task.Pinned { // it shares them with other workers
		cfg.Edge.Loops = 1
	}
	return cfg, nil
}

func (n *node) tellServes(w *workers.Worker) error {
	listeners, err := n.edge.Listeners()
	if err != nil {
		return err
	}
	conns := min(n.cfg.Edge.Defaults().MaxConns, loop.DefaultMaxConns())
	return w.Serves(workers.Serves{MaxConns: conns}, listeners)
}

// answer is what a worker says to its group.
func (n *node) answer(ctx context.Context, q workers.Question, registry prometheus.Gatherer) (a workers.Answer) {
	var err error
	switch q.About {
	case workers.AboutReadiness:
		err = n.ready()
	case workers.AboutStats:
		stats := n.edge.Stats()
		a.Stats = &stats
	case workers.AboutMetrics:
		families, gatherErr := registry.Gather()
		a.Families, err = workers.FamiliesOf(families), gatherErr
	case workers.AboutConns:
		a.Conns, err = n.edge.Why(ctx, q.Client)
	default:
		err = fmt.Errorf("question %d is not known", q.About)
	}
	if err != nil {
		a.Err = err.Error()
	}
	return a
}
