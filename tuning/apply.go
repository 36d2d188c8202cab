package tuning

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"weir/tuning/catalog"
	"weir/tuning/host"
	"weir/tuning/journal"
	"weir/tuning/knob"
)

// The errors of applying and of rolling back.
var (
	// ErrUnfinished says that an apply ended in the middle, and has to be rolled back first.
	ErrUnfinished = errors.New("an apply did not come to its end: weir tune rollback first")
	// ErrElsewhere says that the journal is of another host, or of another network namespace.
	ErrElsewhere = errors.New("the journal is not of here")
	// ErrUndone says that an apply failed, and that all it did was restored.
	ErrUndone = errors.New("what had been written was restored")
	// ErrDenied says that this process may write nothing of what should be written.
	ErrDenied = errors.New("nothing of what is to be changed may be changed by this process")
	// ErrStuck says that something could not be restored.
	ErrStuck = errors.New("not all could be restored: weir tune rollback tries again")
)

// Outcome is what became of one knob.
type Outcome struct {
	Knob string `json:"knob"`
	// From and To are what it said before and after, as people read it.
	From string `json:"from"`
	To   string `json:"to"`
	// Note says what is odd: refused, gone, changed by another one.
	Note string `json:"note,omitempty"`

	left error // why it was left as it is
}

// change is one knob that an apply writes.
type change struct {
	journal.Entry
	is string // what it says now, every byte: not Before, if an earlier apply changed it
}

// Apply changes what a plan says, made anew under the lock. All values of before are on disk before the first
// knob is written. Each is read again after it was written, also if that failed. If one does not become what was
// wanted, all are restored, and the error wraps ErrUndone, or ErrStuck. Announce is told the plan before anything
// is written, and may refuse it.
func (t *Tuner) Apply(wanted catalog.Wanted, announce func(*Plan) error) (done []Outcome, err error) {
	release, err := t.Journal.Lock()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	plan, err := t.Plan(wanted)
	if err != nil {
		return nil, err
	}
	last, err := t.last(plan.Host)
	if err != nil {
		return nil, err
	}
	if err := announce(plan); err != nil {
		return nil, err
	}
	changes := changesOf(plan)
	if len(changes) == 0 {
		return nil, notHere(plan, last)
	}
	next := &journal.Journal{
		Machine: plan.Host.Machine, Boot: plan.Host.Boot, Network: plan.Host.Network,
		State: journal.Applying, Profile: string(plan.Profile), Conns: plan.Conns, At: t.Now,
	}
	next.Entries = merge(last, changes)
	if err := t.Journal.Save(next); err != nil {
		return nil, fmt.Errorf("nothing was changed: %w", err)
	}
	written, done, err := t.write(changes)
	if err == nil {
		err = t.settle(written)
	}
	if err == nil && len(last.Entries) == 0 && allDenied(done) {
		err = fmt.Errorf("%w: %w: run it as root, where /proc/sys and /sys can be written", ErrDenied, done[0].left)
	}
	if err == nil {
		next.State, next.Entries = journal.Applied, merge(last, written)
		err = t.Journal.Save(next)
	}
	if err != nil {
		return nil, t.undo(written, last, next, err)
	}
	return done, nil
}

// last is the journal of an apply that is in force, an empty one if there is none. What an earlier boot had is
// gone with it.
func (t *Tuner) last(h *host.Host) (*journal.Journal, error) {
	j, err := t.Journal.Load()
	if errors.Is(err, journal.ErrNone) {
		return &journal.Journal{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := isHere(j, h); err != nil {
		return nil, err
	}
	switch {
	case j.State == journal.RolledBack, j.Boot != h.Boot:
		return &journal.Journal{}, nil
	case j.State == journal.Applying:
		return nil, ErrUnfinished
	}
	return j, nil
}

// isHere refuses a journal of another host, or of another network namespace of this boot.
func isHere(j *journal.Journal, h *host.Host) error {
	if j.Machine != h.Machine {
		return fmt.Errorf("%w: it is of the host %s, and this is %s: name another one with --journal", ErrElsewhere, j.Machine, h.Machine)
	}
	if j.Boot == h.Boot && j.Network != h.Network {
		return fmt.Errorf("%w: it is of the network namespace %s, and this is %s: enter that one, or name another journal with --journal", ErrElsewhere, j.Network, h.Network)
	}
	return nil
}

func changesOf(p *Plan) (all []change) {
	for _, item := range p.Of(Change) {
		all = append(all, change{journal.Entry{Setting: item.Setting, Knob: item.Knob, Before: item.raw, Wanted: item.Want}, item.raw})
	}
	return all
}

// merge adds changes to what an earlier apply changed, of which the values of before stay.
func merge(last *journal.Journal, changes []change) []journal.Entry {
	all := slices.Clone(last.Entries)
	for _, c := range changes {
		i := slices.IndexFunc(all, func(e journal.Entry) bool { return e.Knob.Name == c.Knob.Name })
		if i < 0 {
			all = append(all, c.Entry)
			continue
		}
		all[i].Wanted = c.Wanted
	}
	return all
}

// write writes changes in order. Written are those that may have changed something, also if it fails.
func (t *Tuner) write(changes []change) (written []change, done []Outcome, err error) {
	for _, c := range changes {
		form := c.Knob.Form
		if why := t.cannotRestore(c); why != nil {
			done = append(done, leftAlone(c, why))
			if raw, err := t.System.Read(c.Knob); err != nil || raw != c.is {
				written = append(written, c) // even so it changed: that is to be undone
				return written, nil, fmt.Errorf("%s was to be left as it is: %w", c.Knob.Name, why)
			}
			continue
		}
		written = append(written, c)
		failed := t.System.Write(c.Knob, c.Wanted)
		raw, err := t.System.Read(c.Knob)
		if errors.Is(failed, errors.ErrUnsupported) && err == nil && raw == c.is {
			done = append(done, leftAlone(c, failed)) // there is no other way to ask a device
			written = written[:len(written)-1]
			continue
		}
		if err := errors.Join(failed, err); err != nil {
			return written, nil, err
		}
		if !form.Same(c.Wanted, raw) {
			return written, nil, fmt.Errorf("%s was written as %s, and says %s", c.Knob.Name, c.Wanted, form.Show(raw))
		}
		done = append(done, Outcome{Knob: c.Knob.Name, From: form.Show(c.is), To: form.Show(raw)})
	}
	return written, done, nil
}

// settle looks at all once more: a knob may change another one that was written before it, as the lengths of a device's rings
// make new instances of its queues. What is not as wanted is written again, once.
func (t *Tuner) settle(written []change) error {
	var failed error
	for _, c := range written {
		if raw, err := t.System.Read(c.Knob); err != nil || !c.Knob.Form.Same(c.Wanted, raw) {
			failed = errors.Join(failed, err, t.System.Write(c.Knob, c.Wanted))
		}
	}
	for _, c := range written {
		if raw, err := t.System.Read(c.Knob); err != nil || !c.Knob.Form.Same(c.Wanted, raw) {
			return errors.Join(failed, err, fmt.Errorf("%s was written as %s, another one changed it, and written again it says %s", c.Knob.Name, c.Wanted, c.Knob.Form.Show(raw)))
		}
	}
	return nil
}

// leftAlone is the outcome of a knob that was not changed.
func leftAlone(c change, why error) Outcome {
	is := c.Knob.Form.Show(c.is)
	return Outcome{Knob: c.Knob.Name, From: is, To: is, Note: "left as it is: " + why.Error(), left: why}
}

// notHere says why nothing is changed although something is not as it should be, unless an apply is in force, of which this is what
// was left.
func notHere(p *Plan, last *journal.Journal) error {
	for _, item := range p.Of(Refused) {
		if item.denied && len(last.Entries) == 0 {
			return fmt.Errorf("%w: %s: %s", ErrDenied, item.Knob.Name, item.Why)
		}
	}
	return nil
}

// allDenied reports that nothing at all could be written. Once an apply is in force, what was denied then may be all that is left.
func allDenied(done []Outcome) bool {
	return !slices.ContainsFunc(done, func(o Outcome) bool {
		return !errors.Is(o.left, fs.ErrPermission) && !errors.Is(o.left, syscall.EROFS)
	})
}

// cannotRestore writes back what a knob says, which changes nothing and shows whether it will be taken when it
// has to be: there are values that can be read and not written, as 0 of vm.dirty_bytes, and affinities of
// interrupts that the kernel manages.
func (t *Tuner) cannotRestore(c change) error {
	if err := t.System.Restore(c.Knob, c.is); err != nil {
		return fmt.Errorf("what it says could not be written back: %w", err)
	}
	raw, err := t.System.Read(c.Knob)
	if err != nil {
		return fmt.Errorf("it can no longer be read: %w", err)
	}
	if raw != c.is {
		return fmt.Errorf("what it says, written back, makes it say %s", c.Knob.Form.Show(raw))
	}
	return nil
}

// passes is how often what is put back is looked at: a knob that is put back may change one that was put back before it.
const passes = 2

// undo restores what was written to what it said before this apply, and with it the journal of the apply before.
func (t *Tuner) undo(written []change, last, next *journal.Journal, cause error) error {
	var stuck []error
	for range passes {
		stuck = nil
		for _, c := range slices.Backward(written) {
			if _, err := t.restore(c.Knob, c.is); err != nil {
				stuck = append(stuck, err)
			}
		}
	}
	if len(stuck) > 0 {
		return fmt.Errorf("%w: %w", errors.Join(append([]error{cause}, stuck...)...), ErrStuck)
	}
	before := *last
	if last.State == "" {
		before = *next
		before.State = journal.RolledBack
	}
	if err := t.Journal.Save(&before); err != nil {
		return fmt.Errorf("%w: %w, but the journal does not say so: weir tune rollback", errors.Join(cause, err), ErrUndone)
	}
	return fmt.Errorf("%w: %w", cause, ErrUndone)
}

// restore writes raw to a knob that does not say it, and reads it again. It returns what it said.
func (t *Tuner) restore(k knob.Knob, raw string) (was string, err error) {
	was, err = t.System.Read(k)
	if err != nil || was == raw {
		return was, err
	}
	failed := t.System.Restore(k, raw)
	is, err := t.System.Read(k)
	switch {
	case err != nil:
		return was, errors.Join(failed, err)
	case is != raw && !k.Form.Same(raw, is):
		return was, errors.Join(failed, fmt.Errorf("%s was to be %s again, and says %s", k.Name, k.Form.Show(raw), k.Form.Show(is)))
	}
	return was, nil // what it says counts, whatever the write said
}
