package tuning

import (
	"errors"
	"fmt"
	"slices"

	"weir/tuning/host"
	"weir/tuning/journal"
	"weir/tuning/knob"
)

// Rollback writes back the bytes that were there before the first apply, the last one first, where they are not
// there already. It may run again, after a crash of itself, of an apply or of the host. What is gone with its
// device, and numbers of another boot, are left out and noted. If something cannot be restored the rest is, and the
// error wraps ErrStuck.
func (t *Tuner) Rollback() (done []Outcome, err error) {
	release, err := t.Journal.Lock()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	h, err := t.look()
	if err != nil {
		return nil, err
	}
	j, err := t.Journal.Load()
	if err != nil {
		return nil, err
	}
	if err := isHere(j, h); err != nil {
		return nil, err
	}
	if j.State == journal.RolledBack {
		return nil, nil
	}
	var stuck []error
	for pass := range passes {
		stuck = nil
		for _, e := range slices.Backward(j.Entries) {
			o, err := t.back(h, j, e)
			if err != nil {
				stuck = append(stuck, err)
			} else if pass == 0 {
				done = append(done, o)
			}
		}
	}
	if len(stuck) > 0 {
		return done, fmt.Errorf("%w: %w", errors.Join(stuck...), ErrStuck)
	}
	j.State = journal.RolledBack
	return done, t.Journal.Save(j)
}

// back restores one entry.
func (t *Tuner) back(h *host.Host, j *journal.Journal, e journal.Entry) (Outcome, error) {
	form := e.Knob.Form
	o := Outcome{Knob: e.Knob.Name, To: form.Show(e.Before)}
	if e.Knob.ThisBoot && j.Boot != h.Boot {
		o.Note = "left out: the host was booted since, and its number may be another's"
		return o, nil
	}
	was, err := t.restore(e.Knob, e.Before)
	if errors.Is(err, knob.ErrAbsent) {
		o.Note = "left out: " + knob.ErrAbsent.Error() + " any more"
		return o, nil
	}
	if err != nil {
		return o, err
	}
	o.From = form.Show(was)
	if !form.Same(e.Wanted, was) && was != e.Before {
		o.Note = "somebody else had changed it meanwhile"
	}
	return o, nil
}

// Drift is a knob that is no longer what was applied.
type Drift struct {
	Setting string `json:"setting"`
	Knob    string `json:"knob"`
	// Wanted and Is are values as people read them; Is is "" if Why says that it cannot be read.
	Wanted string `json:"wanted"`
	Is     string `json:"is"`
	Why    string `json:"why,omitempty"`
}

// Verified is what became of what was applied.
type Verified struct {
	Journal *journal.Journal `json:"journal"`
	// Booted says that the host was booted since: it has what it boots with.
	Booted bool    `json:"booted"`
	Drift  []Drift `json:"drift"`
}

// Verify compares knobs with what was applied, by what values mean.
func (t *Tuner) Verify() (*Verified, error) {
	j, err := t.Journal.Load()
	if err != nil {
		return nil, err
	}
	h, err := t.look()
	if err != nil {
		return nil, err
	}
	if err := isHere(j, h); err != nil {
		return nil, err
	}
	v := &Verified{Journal: j, Booted: j.Boot != h.Boot, Drift: []Drift{}}
	switch j.State {
	case journal.RolledBack:
		return v, nil
	case journal.Applying:
		return v, ErrUnfinished
	case journal.Applied:
	}
	for _, e := range j.Entries {
		d := Drift{Setting: e.Setting, Knob: e.Knob.Name, Wanted: e.Knob.Form.Show(e.Wanted)}
		raw, err := t.System.Read(e.Knob)
		switch {
		case e.Knob.ThisBoot && v.Booted:
			d.Why = "the host was booted since, and its number may be another's"
		case errors.Is(err, knob.ErrAbsent):
			d.Why = knob.ErrAbsent.Error()
		case err != nil:
			d.Why = err.Error()
		case e.Knob.Form.Same(e.Wanted, raw):
			continue
		default:
			d.Is = e.Knob.Form.Show(raw)
		}
		v.Drift = append(v.Drift, d)
	}
	return v, nil
}
