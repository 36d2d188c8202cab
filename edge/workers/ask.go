package workers

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"weir/edge"
	"weir/edge/loop"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// reply is a worker's answer, or why there is none.
type reply struct {
	from *process
	Answer
	err error
}

// ask asks all workers that serve, at once. Who does not answer in time is counted.
func (g *Group) ask(ctx context.Context, q Question) []reply {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	all := g.serving()
	replies := make([]reply, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() {
			a, err := p.ask(ctx, q)
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errBusy) {
				g.unanswered.Inc()
				g.log.Warn("a worker does not answer: what it holds is left out", "worker", p.number, "err", err)
			}
			if err == nil && a.Err != "" {
				err = errors.New(a.Err)
			}
			replies[i] = reply{p, a, err}
		})
	}
	wg.Wait()
	return replies
}

// remember keeps what a worker has counted, for when it does not answer or is gone: a sum of counters
// that became smaller would be taken for a restart of all.
func (g *Group) remember(p *process, keep func(*past)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.workers[p.number] == p {
		keep(&g.known[p.number])
	}
}

// Stats sums up the workers' counters, also of those that are gone. What one holds that does not answer
// is left out.
func (g *Group) Stats() edge.Stats {
	answered := map[*process]bool{}
	for _, r := range g.ask(context.Background(), Question{About: AboutStats}) {
		if r.err == nil && r.Stats != nil {
			g.remember(r.from, func(k *past) { k.stats = *r.Stats })
			answered[r.from] = true
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.past.stats
	for i, p := range g.workers {
		known := g.known[i].stats
		if !answered[p] {
			known = known.Past()
		}
		all.Merge(&known)
	}
	return all
}

// Gatherer is own with the metrics of the workers: those of an edge and of its link to the bus are the
// sums of what they and own have, all else is own's.
func (g *Group) Gatherer(own prometheus.Gatherer) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		sums := totals{}
		answered := map[*process]bool{}
		for _, r := range g.ask(context.Background(), Question{About: AboutMetrics}) {
			if r.err == nil {
				g.remember(r.from, func(k *past) { k.families = r.Families })
				answered[r.from] = true
			}
		}
		g.mu.Lock()
		sums.add(g.past.families, false)
		for i, p := range g.workers {
			sums.add(g.known[i].families, answered[p])
		}
		g.mu.Unlock()
		families, err := own.Gather()
		return sums.join(families), err
	})
}

// Why says what became of the conns of a client, on all workers that answer. The error is one of them's
// if none does.
func (g *Group) Why(ctx context.Context, client string) (all []edge.ConnReport, err error) {
	answered := false
	for _, r := range g.ask(ctx, Question{About: AboutConns, Client: client}) {
		if r.err != nil {
			err = fmt.Errorf("ask worker %d: %w", r.from.number, r.err)
			continue
		}
		answered = true
		all = append(all, r.Conns...)
	}
	if err != nil && !answered {
		return nil, err
	}
	loop.SortReports(all)
	return all, nil
}

// Unready says which worker cannot serve, and why; nil if all can.
func (g *Group) Unready(ctx context.Context) error {
	replies := g.ask(ctx, Question{About: AboutReadiness})
	for _, r := range replies {
		if r.err != nil {
			return fmt.Errorf("worker %d: %w", r.from.number, r.err)
		}
	}
	if n := len(replies); n < g.opts.Workers {
		return fmt.Errorf("%d of %d workers serve", n, g.opts.Workers)
	}
	return nil
}

var descWorkers = prometheus.NewDesc("weir_edge_workers", "Workers that serve now.", nil, nil)

// Describe implements [prometheus.Collector].
func (g *Group) Describe(ch chan<- *prometheus.Desc) {
	ch <- descWorkers
	g.restarts.Describe(ch)
	g.unanswered.Describe(ch)
}

// Collect implements [prometheus.Collector].
func (g *Group) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(descWorkers, prometheus.GaugeValue, float64(len(g.serving())))
	g.restarts.Collect(ch)
	g.unanswered.Collect(ch)
}
