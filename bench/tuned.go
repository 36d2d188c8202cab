package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"weir/tuning"
	"weir/tuning/catalog"
	"weir/tuning/host"
	"weir/tuning/journal"
	"weir/tuning/knob"
)

// errNotRestored says that a host is not as it was before a run.
var errNotRestored = errors.New("not all is as it was before the run")

// TuningChange is a knob that a turn with a setting has turned.
type TuningChange struct {
	Setting string `json:"setting"`
	Knob    string `json:"knob"`
	From    string `json:"from"`
	To      string `json:"to"`
	// Note says why it was left as it is.
	Note string `json:"note,omitempty"`
}

// tuned is a host with some settings of a profile: those of an edge's network and those of the host are apart, each
// with a journal, as the former end with the network and the latter have to be put back after a crash of ours.
type tuned struct {
	system knob.System
	wanted catalog.Wanted
	plan   *tuning.Plan
	parts  []*tuning.Tuner // what is applied, in order
	before map[string]string
	knobs  []knob.Knob       // those of before
	of     map[string]string // settings by their knobs' names
}

// Journals of a run, in its directory.
const (
	hostJournal = "host.journal"
	edgeJournal = "edge.journal"
	runLock     = "run"
	// tuningDir is that directory: empty after a boot, as the settings are.
	tuningDir = "/run/weir-bench-tuning"
)

// newTuned looks at a host and notes what all the knobs of the profile say. Settings are those that [tuned.apply] is for;
// isEdges tells the edge's knobs from the host's.
func newTuned(system knob.System, isEdges func(knob.Knob) bool, wanted catalog.Wanted, settings []string, dir string) (*tuned, error) {
	t := &tuned{system: system, wanted: wanted, before: map[string]string{}, of: map[string]string{}}
	var err error
	if t.plan, err = (&tuning.Tuner{System: system}).Plan(wanted); err != nil {
		return nil, err
	}
	known, ofEdge, ofHost := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, item := range t.plan.Of(tuning.Change, tuning.Same) {
		key := sieveKey(item.Knob)
		known[key], t.of[item.Knob.Name] = true, item.Setting
		if t.before[key], err = system.Read(item.Knob); err != nil {
			return nil, err
		}
		t.knobs = append(t.knobs, item.Knob)
		switch {
		case !slices.Contains(settings, item.Setting):
		case isEdges(item.Knob):
			ofEdge[key] = true
		default:
			ofHost[key] = true
		}
	}
	if err := os.Remove(filepath.Join(dir, edgeJournal)); err != nil && !errors.Is(err, os.ErrNotExist) { // of a network that is gone
		return nil, fmt.Errorf("remove the journal of an earlier turn: %w", err)
	}
	for _, part := range []struct {
		journal string
		may     map[string]bool
	}{{edgeJournal, ofEdge}, {hostJournal, ofHost}} {
		if len(part.may) > 0 {
			t.parts = append(t.parts, tunerIn(dir, part.journal, sieve(system, known, part.may)))
		}
	}
	return t, nil
}

// tunerIn is a tuner with a journal in a run's directory.
func tunerIn(dir, name string, system knob.System) *tuning.Tuner {
	return &tuning.Tuner{
		System: system, Now: time.Now().UTC().Format(time.RFC3339),
		Journal: journal.At(filepath.Join(dir, name)),
	}
}

// apply turns the knobs, and sees that they are as they should be.
func (t *tuned) apply() (changes []TuningChange, err error) {
	for _, part := range t.parts {
		done, err := part.Apply(t.wanted, func(*tuning.Plan) error { return nil })
		if err != nil {
			return nil, err
		}
		for _, o := range done {
			changes = append(changes, TuningChange{t.of[o.Knob], o.Knob, o.From, o.To, o.Note})
		}
	}
	return changes, t.verify()
}

// verify says what is no longer as it was applied.
func (t *tuned) verify() error {
	for _, part := range t.parts {
		v, err := part.Verify()
		if errors.Is(err, journal.ErrNone) {
			continue // nothing was to be changed
		}
		if err != nil {
			return err
		}
		for _, d := range v.Drift {
			return fmt.Errorf("%s was applied as %s and is %s%s: somebody else tunes this host", d.Knob, d.Wanted, d.Is, d.Why)
		}
	}
	return nil
}

// restore puts back what apply has changed, and compares every knob of the profile with what it said before.
func (t *tuned) restore() error {
	var errs []error
	for _, part := range slices.Backward(t.parts) {
		if _, err := part.Rollback(); err != nil && !errors.Is(err, journal.ErrNone) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, t.compare())...)
}

// compare says which knobs do not say what they said before.
func (t *tuned) compare() error {
	var errs []error
	for _, k := range t.knobs {
		raw, err := t.system.Read(k)
		if was := t.before[sieveKey(k)]; err == nil && raw != was {
			err = fmt.Errorf("%s said %q, and says %q: %w", k.Name, was, raw, errNotRestored)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// during runs f with the settings, and restores what was there however f ends, also by a panic. It is told what was
// changed. What cannot be restored is in the error, and on progress in case there is nobody to take the error.
func (t *tuned) during(progress io.Writer, f func([]TuningChange) error) (err error) {
	defer func() {
		back := t.restore()
		if back != nil {
			fmt.Fprintf(progress, "NOT RESTORED: %v\n", back)
		}
		err = errors.Join(err, back)
	}()
	changes, err := t.apply()
	if err != nil {
		return err
	}
	if err := f(changes); err != nil {
		return err
	}
	return t.verify()
}

// beginTuning keeps other runs away until it is released, refuses a host that is tuned already, by its tuner's journal, and
// restores what a run that was killed has left.
func beginTuning(dir string, here *tuning.Tuner, progress io.Writer) (release func() error, err error) {
	h, err := host.Read(here.System.Files)
	if err != nil {
		return nil, err
	}
	switch j, err := here.Journal.Load(); {
	case errors.Is(err, journal.ErrNone):
	case err != nil:
		return nil, err
	case j.State != journal.RolledBack && j.Boot == h.Boot:
		return nil, fmt.Errorf("%s says that weir tune has been applied here: turns without settings would have them: weir tune rollback first", here.Journal.Path)
	}
	release, err = journal.At(filepath.Join(dir, runLock)).Lock()
	if err != nil {
		return nil, fmt.Errorf("begin: another weir bench tuning may be at work: %w", err)
	}
	done, err := tunerIn(dir, hostJournal, here.System).Rollback()
	if err != nil && !errors.Is(err, journal.ErrNone) {
		return nil, errors.Join(fmt.Errorf("put back what a run that was killed has left: %w", err), release())
	}
	for _, o := range done {
		fmt.Fprintf(progress, "a run that was killed had left %s: %s -> %s\n", o.Knob, o.From, o.To)
	}
	return release, nil
}
