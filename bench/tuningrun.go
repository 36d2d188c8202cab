package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"weir/bench/load"
	"weir/tuning"
	"weir/tuning/journal"
	"weir/tuning/knob"
)

// What a run of [RunTuning] is made of.
const (
	tuningPrefix = "weir-tuning-"
	tuningTopic  = "bench.tuning"
	// tuningSources are the addresses that conns come from.
	tuningSources = 16
	// tuningFirst conns come and go before memory is looked at.
	tuningFirst = 200
	// tuningSettle is how long conns are held before memory is looked at.
	tuningSettle = time.Second
	// tuningOverhead is what a turn may take beside its duration.
	tuningOverhead = 2 * time.Minute
	// tuningArrive is how long a message may be late whose packets were lost: by a few retransmissions.
	tuningArrive = 20 * time.Second
)

// tuningRun is a run.
type tuningRun struct {
	cfg      TuningConfig
	dir      string
	progress io.Writer
	// before is what the host's knobs said when the run began, by knob.
	before map[string]string
	plan   *tuning.Plan
	result *TuningResult
}

// RunTuning measures an edge with and without settings of a profile, in turns: each with a network and a process of its
// own. What was changed is put back after each turn; that all is as it was is part of the run. With an error of what
// comes after the last turn there is a result all the same.
func RunTuning(ctx context.Context, cfg TuningConfig, progress io.Writer) (_ *TuningResult, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if os.Geteuid() != 0 {
		return nil, errors.New("it makes network namespaces and changes settings of this host: run it as root")
	}
	here, closer, err := tuning.Open("", journal.DefaultPath, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	release, err := beginTuning(tuningDir, here, progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	r := &tuningRun{cfg: cfg, dir: tuningDir, progress: progress}
	r.result = &TuningResult{
		Host: ReadHostCard(), Profile: cfg.Profile, For: cfg.For, Each: cfg.Each, Conns: cfg.Conns, Rate: cfg.Rate, Size: cfg.Size,
		Seconds: cfg.Duration.Seconds(), Reps: cfg.Reps,
	}
	groups, err := r.look(cfg.groups())
	if err != nil {
		return nil, err
	}
	for _, s := range tuningOrder(groups, cfg.Reps) {
		turn := TuningTurn{Group: s.group.name, Pair: s.pair, On: s.on}
		if err := r.turn(ctx, s, &turn); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", s.group.name, onOff(s.on), err)
		}
		r.result.Turns = append(r.result.Turns, turn)
	}
	if r.result.Wall, err = r.wall(ctx); err != nil {
		err = fmt.Errorf("test of %s: %w", tuningBacklog, err)
	}
	r.result.settle(groups, r.plan)
	return r.result, err
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// look plans on a lab, and leaves out the groups of which nothing is to be changed there.
func (r *tuningRun) look(groups []tuningGroup) (some []tuningGroup, err error) {
	err = r.inLab(nil, func(_ *Lab, t *tuned) error {
		r.plan = t.plan
		for _, g := range groups {
			n := 0
			for _, item := range t.plan.Of(tuning.Change) {
				if slices.Contains(g.settings, item.Setting) {
					n++
				}
			}
			n += len(variables(t.plan, g.settings))
			if n == 0 {
				fmt.Fprintf(r.progress, "%s (%s): nothing of it is to be changed here\n", g.name, g.about)
				continue
			}
			fmt.Fprintf(r.progress, "%s (%s): %d knobs\n", g.name, g.about, n)
			some = append(some, g)
		}
		return nil
	})
	if err == nil && len(some) == 0 {
		err = errors.New("nothing of it is to be changed on this host: there is nothing to measure")
	}
	return some, err
}

// inLab makes a lab, and what the settings are applied by there, and runs f with both.
func (r *tuningRun) inLab(settings []string, f func(*Lab, *tuned) error) (err error) {
	lab, err := newPlainLab(tuningPrefix, LabAddrs(LabSubscribers, tuningSources)...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	by, err := tunableOf(lab)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, by.Close()) }()
	isEdges := func(k knob.Knob) bool { return k.Path == "" || by.files.isEdges(k.Path) }
	t, err := newTuned(by.System, isEdges, r.cfg.wanted(), settings, r.dir)
	if err != nil {
		return err
	}
	if err := r.unchanged(t, isEdges); err != nil {
		return err
	}
	return f(lab, t)
}

// unchanged says which of the host's knobs are not as they were when the run began.
func (r *tuningRun) unchanged(t *tuned, isEdges func(knob.Knob) bool) error {
	begins := r.before == nil
	if begins {
		r.before = map[string]string{}
	}
	for _, k := range t.knobs {
		key := sieveKey(k)
		switch was, known := r.before[key]; {
		case isEdges(k):
		case begins:
			r.before[key] = t.before[key]
		case known && was != t.before[key]:
			return fmt.Errorf("%s said %q when the run began, and says %q: %w", k.Name, was, t.before[key], errNotRestored)
		}
	}
	return nil
}

// turn measures one.
func (r *tuningRun) turn(ctx context.Context, s slot, to *TuningTurn) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Duration+tuningOverhead)
	defer cancel()
	var settings []string
	if s.on {
		settings = s.group.settings
	}
	return r.inLab(settings, func(lab *Lab, t *tuned) error {
		return t.during(r.progress, func(changed []TuningChange) error {
			l := &tuningLoad{cfg: r.cfg, lab: lab, progress: r.progress, env: []string{maxConnsEnv(r.cfg.Conns)}}
			to.Changed = changed
			for _, v := range variables(t.plan, settings) {
				to.Changed, l.env = append(to.Changed, v), append(l.env, v.Knob+"="+v.To)
			}
			defer l.end()
			if err := l.measure(ctx, to); err != nil {
				if errors.Is(ctx.Err(), context.Canceled) {
					return fmt.Errorf("interrupted: %w", ctx.Err())
				}
				return err
			}
			fmt.Fprintf(r.progress, "%-9s %-3s %7.0f conns/GB, %7.0f with a message queued  p50 %.2f  p99 %.2f ms  %5.2f us of the server a delivery, %.0f %% gathered\n",
				s.group.name, onOff(s.on), to.perGB(to.Held, r.cfg.Conns), to.perGB(to.Queued, r.cfg.Conns), to.Fanout.P50, to.Fanout.P99, to.Fanout.MicrosCPU, 100*to.Gathered)
			return nil
		})
	})
}

// tuningLoad is the edge of a turn with its subscribers.
type tuningLoad struct {
	cfg      TuningConfig
	lab      *Lab
	progress io.Writer
	env      []string // of the edge
	fan      *fanout
	release  []func() bool // of what ends workers with their context
}

// measure runs one turn's load.
func (l *tuningLoad) measure(ctx context.Context, to *TuningTurn) (err error) {
	if err := l.lab.Serve(ctx, []string{"--xdp", "off"}, l.env...); err != nil {
		return err
	}
	srv := &server{Process: l.lab.server, name: ServerWeir, edge: LabEdge(), admin: LabAdmin, client: l.lab.Client}
	l.fan = &fanout{cfg: FanoutConfig{Conns: l.cfg.Conns, Size: l.cfg.Size}, topic: tuningTopic, progress: l.progress, server: srv}
	if to.Empty, err = l.first(ctx); err != nil {
		return err
	}
	if to.Held, err = l.hold(ctx); err != nil {
		return err
	}
	if l.fan.pub, err = NewPublisher(ctx, l.lab.Edge.DialContext, LabAdmin, tuningTopic, l.cfg.Size); err != nil {
		return err
	}
	if _, err := l.fan.measure(ctx, 5, time.Second); err != nil {
		return err
	}
	wrote, err := l.written(ctx)
	if err != nil {
		return err
	}
	before, err := readHostTime()
	if err != nil {
		return err
	}
	if to.Fanout, err = l.fan.measure(ctx, l.cfg.Rate, l.cfg.Duration); err != nil {
		return err
	}
	after, err := readHostTime()
	if err != nil {
		return err
	}
	to.SoftirqMicros, to.HostMicros = after.perDelivery(before, to.Fanout.Deliveries)
	now, err := l.written(ctx)
	if err != nil {
		return err
	}
	to.Gathered = now.gathered(wrote)
	if !to.Fanout.whole() {
		return fmt.Errorf("%d of %d events came (%+v): lower --rate or --conns", to.Fanout.Deliveries, to.Fanout.Expected, to.Fanout.Faults)
	}
	to.Queued, err = l.queue(ctx)
	return err
}

// first has a few conns come and go, as the server then has loaded the code that serves them, and returns the memory.
func (l *tuningLoad) first(ctx context.Context) (m Memory, err error) {
	n := min(l.cfg.Conns, tuningFirst)
	workers := (l.cfg.Conns + connsPerWorker - 1) / connsPerWorker
	for i := range workers {
		w, err := StartWorker(l.lab.InLoad, load.Config{
			Edge: LabEdge(), Target: "/ws/" + tuningTopic, Conns: share(n, workers, i), Sources: LabAddrs(LabSubscribers, tuningSources),
		})
		if err != nil {
			return m, err
		}
		l.fan.workers = append(l.fan.workers, w)
		l.release = append(l.release, context.AfterFunc(ctx, w.End)) // one that does not answer must not outlast the interrupt
	}
	if _, _, err := opened(l.fan.workers); err != nil {
		return m, err
	}
	if err := errors.Join(closeConns(l.fan.workers, n), l.fan.server.settle(ctx), slabSettled(ctx)); err != nil {
		return m, err
	}
	return l.fan.server.memory(ctx)
}

// slabSettled waits until the kernel's objects no longer get fewer: those of an earlier turn's network go long after it
// was removed.
func slabSettled(ctx context.Context) error {
	const (
		pause = 250 * time.Millisecond
		tries = 20
		still = 512 << 10 // bytes
	)
	last := uint64(0)
	for range tries {
		now, err := kibField("/proc/meminfo", "Slab")
		if err != nil {
			return err
		}
		if last > 0 && now+still > last {
			return nil
		}
		last = now
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil // a host that is never still is measured as it is: the noise shows it
}

// hold opens all conns, and returns the memory.
func (l *tuningLoad) hold(ctx context.Context) (m Memory, err error) {
	if err := tell(l.fan.workers, load.CommandOpen, l.cfg.Conns); err != nil {
		return m, err
	}
	if _, _, err := opened(l.fan.workers); err != nil {
		return m, err
	}
	select {
	case <-ctx.Done():
		return m, ctx.Err()
	case <-time.After(tuningSettle):
	}
	return l.fan.server.memory(ctx)
}

// queue cuts the cable, publishes a message, and returns the memory once the edge has written it to each conn, of which
// none can acknowledge it. Then the cable is mended, and all have to come.
func (l *tuningLoad) queue(ctx context.Context) (m Memory, err error) {
	if err := l.fan.reset(); err != nil {
		return m, err
	}
	before, err := l.written(ctx)
	if err != nil {
		return m, err
	}
	if err := l.lab.Load.SetUp(LabLoadEnd, false); err != nil {
		return m, err
	}
	published, _, err := l.fan.pub.Run(ctx, 1, time.Second)
	if err == nil {
		err = l.awaitWritten(ctx, before.events+float64(l.cfg.Conns))
	}
	if err == nil {
		m, err = l.fan.server.memory(ctx)
	}
	if err := errors.Join(err, l.lab.Load.SetUp(LabLoadEnd, true)); err != nil {
		return m, err
	}
	s := Step{Expected: published * uint64(l.cfg.Conns)} //nolint:gosec // bounded by Validate
	for deadline := time.Now().Add(tuningArrive); ; {
		if _, err := l.fan.gather(ctx, &s); err != nil {
			return m, err
		}
		if s.whole() {
			return m, nil
		}
		if time.Now().After(deadline) {
			return m, fmt.Errorf("%d of %d messages came after the cable was mended (%+v)", s.Deliveries, s.Expected, s.Faults)
		}
	}
}

// written is what an edge has written to conns: events, and how often.
type written struct{ events, writes float64 }

// gathered is the share of events that left in one write with another, since before.
func (w written) gathered(before written) float64 {
	if w.events == before.events {
		return 0
	}
	return max(1-(w.writes-before.writes)/(w.events-before.events), 0)
}

// written asks the edge.
func (l *tuningLoad) written(ctx context.Context) (w written, err error) {
	m, err := l.fan.server.metrics(ctx)
	if err != nil {
		return w, err
	}
	for name, to := range map[string]*float64{"weir_edge_deliveries_total": &w.events, "weir_edge_writes_total": &w.writes} {
		n, has := m[name]
		if !has {
			return w, fmt.Errorf("the edge has no %s among its metrics", name)
		}
		*to = n
	}
	return w, nil
}

// awaitWritten waits until it has written so many.
func (l *tuningLoad) awaitWritten(ctx context.Context, want float64) error {
	for deadline := time.Now().Add(tuningArrive); ; {
		w, err := l.written(ctx)
		if err != nil || w.events >= want {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the edge wrote a message to %.0f of %d connections", w.events-want+float64(l.cfg.Conns), l.cfg.Conns)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// end ends the subscribers and the edge, before settings are put back.
func (l *tuningLoad) end() {
	for _, release := range l.release {
		release()
	}
	if l.fan != nil {
		l.fan.stop()
	}
	if l.lab.server != nil {
		l.lab.server.Stop(15 * time.Second)
	}
}
