package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"weir/tuning"
	"weir/tuning/journal"

	"github.com/prometheus/client_golang/prometheus"
)

// driftInterval is how often it is looked for drifts.
const driftInterval = time.Minute

var (
	descDrifted = prometheus.NewDesc("weir_tuning_drifted_settings", "Settings of the host that are no longer as weir tune apply made them; there is none without its journal, or if that cannot be read.", nil, nil)
	descApplied = prometheus.NewDesc("weir_tuning_applied_timestamp_seconds", "When weir tune apply made them, in seconds since 1970; there is none without its journal, or if that cannot be read.", nil, nil)
)

// drift looks from time to time whether the host is still as weir tune apply left it: a scrape does not wait for that.
type drift struct {
	host  tuneHost
	log   *slog.Logger
	found atomic.Pointer[drifted] // nil: nothing is applied, or nobody knows
	said  string                  // why it cannot be known
}

// drifted is what was found last.
type drifted struct {
	settings int
	applied  time.Time
}

func newDrift(log *slog.Logger) *drift { return &drift{host: thisHost(), log: log} }

// run looks until ctx ends.
func (d *drift) run(ctx context.Context) error {
	t := time.NewTicker(driftInterval)
	defer t.Stop()
	for {
		d.note(d.look())
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// look verifies what the journal says.
func (d *drift) look() (*drifted, error) {
	// Where nothing is applied, which is most hosts, no more than that is looked at.
	if j, err := journal.At(d.host.Journal).Load(); err != nil || j.State == journal.RolledBack {
		return nil, err
	}
	var v *tuning.Verified
	err := d.host.on(func(t *tuning.Tuner) (err error) {
		v, err = t.Verify()
		return err
	})
	if err != nil || v.Journal.State == journal.RolledBack { // by now
		return nil, err
	}
	applied, err := time.Parse(time.RFC3339, v.Journal.At)
	if err != nil {
		return nil, err
	}
	return &drifted{len(v.Drift), applied}, nil
}

// note keeps what was found, and says once why nothing was, unless it is that there is no journal.
func (d *drift) note(found *drifted, err error) {
	d.found.Store(found)
	switch {
	case err == nil:
		d.said = ""
	case errors.Is(err, journal.ErrNone), errors.Is(err, fs.ErrNotExist):
	case err.Error() != d.said:
		d.said = err.Error()
		d.log.Info("whether the host's settings have drifted is not known", "err", err)
	}
}

// Describe implements [prometheus.Collector].
func (*drift) Describe(ch chan<- *prometheus.Desc) {
	ch <- descDrifted
	ch <- descApplied
}

// Collect implements [prometheus.Collector].
func (d *drift) Collect(ch chan<- prometheus.Metric) {
	if found := d.found.Load(); found != nil {
		ch <- prometheus.MustNewConstMetric(descDrifted, prometheus.GaugeValue, float64(found.settings))
		ch <- prometheus.MustNewConstMetric(descApplied, prometheus.GaugeValue, float64(found.applied.Unix()))
	}
}
