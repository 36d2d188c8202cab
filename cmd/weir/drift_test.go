package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/tuning"
	"weir/tuning/catalog"
	"weir/tuning/journal"

	"github.com/prometheus/client_golang/prometheus"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDriftIsWhatVerifyFinds goes from no journal to a drift, back, and to a journal that is broken.
func TestDriftIsWhatVerifyFinds(t *testing.T) {
	root, path := dryHost(t), filepath.Join(t.TempDir(), "tune.journal")
	var log bytes.Buffer
	d := &drift{host: tuneHost{Root: root, Journal: path}, log: slog.New(slog.NewTextHandler(&log, nil))}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(d)
	look := func(what string, want map[string]float64) {
		t.Helper()
		d.note(d.look())
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		if len(families) != len(want) {
			t.Errorf("%s: %v", what, families)
		}
		for _, f := range families {
			if v := f.GetMetric()[0].GetGauge().GetValue(); v != want[f.GetName()] {
				t.Errorf("%s: %s is %v", what, f.GetName(), v)
			}
		}
	}
	tune := func(f func(*tuning.Tuner) error) {
		t.Helper()
		tuner, closer, err := tuning.Open(root, path, "2026-11-26T00:00:00Z")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f(tuner), closer.Close()); err != nil {
			t.Fatal(err)
		}
	}
	const at = 1795651200 // the time above
	look("nothing was applied", nil)
	tune(func(tuner *tuning.Tuner) error {
		done, err := tuner.Apply(catalog.Wanted{Profile: catalog.Edge, Conns: 1000, QueuedBytes: 1024}, func(*tuning.Plan) error { return nil })
		if len(done) == 0 {
			t.Error("nothing was changed")
		}
		return err
	})
	look("applied", map[string]float64{"weir_tuning_drifted_settings": 0, "weir_tuning_applied_timestamp_seconds": at})
	write(t, filepath.Join(root, "proc/sys/net/core/somaxconn"), "7\n")
	look("drifted", map[string]float64{"weir_tuning_drifted_settings": 1, "weir_tuning_applied_timestamp_seconds": at})
	tune(func(tuner *tuning.Tuner) error { _, err := tuner.Rollback(); return err })
	look("rolled back", nil)
	if log.Len() > 0 {
		t.Errorf("it says %s", &log)
	}
	write(t, path, "nonsense")
	look("a broken journal", nil)
	look("the same", nil)
	if n := strings.Count(log.String(), journal.ErrBroken.Error()); n != 1 {
		t.Errorf("it says %d times: %s", n, &log)
	}
}
