package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"weir/tuning"
	"weir/tuning/catalog"
	"weir/tuning/journal"
	"weir/tuning/knob"
)

type tuneCmd struct {
	Plan     tunePlanCmd     `cmd:"" help:"Say what a profile would change on this host; write nothing."`
	Apply    tuneApplyCmd    `cmd:"" help:"Change it, and keep what was there."`
	Verify   tuneVerifyCmd   `cmd:"" help:"Say what is no longer as it was applied."`
	Rollback tuneRollbackCmd `cmd:"" help:"Put back what was there before."`
}

// tuneHost is which host, and its journal.
type tuneHost struct {
	Root    string `help:"Directory that has proc, sys and etc of a host, in place of this one: a dry host." placeholder:"DIR" type:"path"`
	Journal string `help:"Where what was there is kept." default:"${tune_journal}" placeholder:"FILE" type:"path"`
}

// thisHost is this one, with the journal where weir tune keeps it unless it is told another place.
func thisHost() tuneHost { return tuneHost{Journal: journal.DefaultPath} }

// on runs f on the host.
func (h tuneHost) on(f func(*tuning.Tuner) error) (err error) {
	t, closer, err := tuning.Open(h.Root, h.Journal, time.Now().UTC().Format(time.RFC3339))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	return f(t)
}

// tuneWanted is what the host is for.
type tuneWanted struct {
	Profile   string   `help:"What the host is for: edge, gateway or bench." default:"edge" enum:"edge,gateway,bench"`
	Conns     int      `help:"Connections at once." default:"100000" placeholder:"N"`
	Queued    int      `help:"Bytes that one connection may have in the kernel in the worst burst." default:"1024" placeholder:"BYTES"`
	Interface []string `help:"Interfaces to set; all that have a device and are up unless named." placeholder:"NAME"`
	BusyPoll  bool     `help:"Programs here poll by an epoll that prefers busy polling (EPIOCSPARAMS), which weir's own loops do not: keep interrupts off while they do." name:"busy-poll"`
}

func (w tuneWanted) wanted() catalog.Wanted {
	return catalog.Wanted{Profile: catalog.Profile(w.Profile), Conns: w.Conns, QueuedBytes: w.Queued, Interfaces: w.Interface, BusyPoll: w.BusyPoll}
}

type tunePlanCmd struct {
	tuneHost
	tuneWanted
	JSON   bool `help:"Print JSON." name:"json" xor:"form"`
	Sysctl bool `help:"Print a file for /etc/sysctl.d." xor:"form"`
	Tuned  bool `help:"Print a profile of tuned." xor:"form"`
}

// Help is printed below the flags.
func (*tunePlanCmd) Help() string {
	return `Examples:
  weir tune plan
  weir tune plan --profile gateway --conns 500000 --interface eth0
  weir tune plan --sysctl >/etc/sysctl.d/60-weir.conf    for what has to hold after a reboot
  weir tune plan --root /tmp/host --json                 of a host that was copied into a directory`
}

// Run plans and prints.
func (c *tunePlanCmd) Run(a *app) error {
	return c.on(func(t *tuning.Tuner) error {
		p, err := t.Plan(c.wanted())
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(a.stdout, p)
		case c.Sysctl:
			return p.Sysctl(a.stdout)
		case c.Tuned:
			return p.Tuned(a.stdout)
		}
		return p.Text(a.stdout)
	})
}

type tuneApplyCmd struct {
	tuneHost
	tuneWanted
}

// Help is printed below the flags.
func (*tuneApplyCmd) Help() string {
	return `Examples:
  weir tune apply
  weir tune apply --profile edge --conns 1000000

It prints what it will do and does it, without a question: weir tune plan is the
same without the doing. What was there is on disk before anything is changed. If
one setting does not take, all are put back, and the exit code is 1. What it sets
holds until the next boot, whether weir runs or not.`
}

// Run applies and prints.
func (c *tuneApplyCmd) Run(a *app) error {
	return c.on(func(t *tuning.Tuner) error {
		done, err := t.Apply(c.wanted(), func(p *tuning.Plan) error { return p.Text(a.stdout) })
		if err != nil {
			return err
		}
		if len(done) == 0 {
			_, err := fmt.Fprintln(a.stdout, "\nNothing is to be changed.")
			return err
		}
		fmt.Fprintln(a.stdout, "\nApplied")
		if err := printOutcomes(a.stdout, done); err != nil {
			return err
		}
		if n := leftAlone(done); n > 0 {
			fmt.Fprintf(a.stdout, "Left as they are: %d of %d, see above for why.\n", n, len(done))
		}
		_, err = fmt.Fprintf(a.stdout, "What was there is in %s: weir tune rollback puts it back.\n", c.Journal)
		return err
	})
}

// leftAlone is how many were not changed.
func leftAlone(done []tuning.Outcome) (n int) {
	for _, o := range done {
		if o.From == o.To && o.Note != "" {
			n++
		}
	}
	return n
}

type tuneVerifyCmd struct {
	tuneHost
	JSON bool `help:"Print JSON." name:"json"`
}

// Help is printed below the flags.
func (*tuneVerifyCmd) Help() string {
	return `Examples:
  weir tune verify
  weir tune verify --json

The exit code is 1 if something has drifted, or there is no journal.`
}

// errDrift ends the command with exit code 1; the drifts are printed.
var errDrift = errors.New("settings have drifted: see above; weir tune apply sets them again")

// Run verifies and prints.
func (c *tuneVerifyCmd) Run(a *app) error {
	return c.on(func(t *tuning.Tuner) error {
		v, err := t.Verify()
		if err != nil {
			return err
		}
		if c.JSON {
			err = printJSON(a.stdout, v)
		} else {
			err = printVerified(a.stdout, v)
		}
		if err == nil && len(v.Drift) > 0 {
			return drifts(v)
		}
		return err
	})
}

// drifts ends the command: errDrift, with what to do about settings that cannot be set again.
func drifts(v *tuning.Verified) error {
	if !v.Booted && slices.ContainsFunc(v.Drift, func(d tuning.Drift) bool { return d.Why == knob.ErrAbsent.Error() }) {
		return fmt.Errorf("%w, and those that are not there are left out after weir tune rollback and another apply", errDrift)
	}
	return errDrift
}

func printVerified(w io.Writer, v *tuning.Verified) error {
	j := v.Journal
	if j.State == journal.RolledBack {
		_, err := fmt.Fprintln(w, "Rolled back: nothing is applied.")
		return err
	}
	fmt.Fprintf(w, "%s of %d conns, applied %s: %d settings, of which %d have drifted.\n", j.Profile, j.Conns, j.At, len(j.Entries), len(v.Drift))
	if v.Booted {
		fmt.Fprintln(w, "The host was booted since: it has what it boots with. weir tune plan --sysctl prints a file that holds over that.")
	}
	for _, d := range v.Drift {
		is := "is " + d.Is
		if d.Why != "" {
			is = "and " + d.Why
		}
		if _, err := fmt.Fprintf(w, "  %s\n      applied %s, %s\n", d.Knob, d.Wanted, is); err != nil {
			return err
		}
	}
	return nil
}

type tuneRollbackCmd struct{ tuneHost }

// Help is printed below the flags.
func (*tuneRollbackCmd) Help() string {
	return `Examples:
  weir tune rollback
  weir tune rollback --journal /var/lib/weir-tune/journal

It puts back every byte that was there before the first apply, the last one
first, and may be run again: after a crash, or a reboot.`
}

// Run rolls back and prints.
func (c *tuneRollbackCmd) Run(a *app) error {
	return c.on(func(t *tuning.Tuner) error {
		done, err := t.Rollback()
		if len(done) == 0 && err == nil {
			_, err := fmt.Fprintln(a.stdout, "Nothing is to be put back.")
			return err
		}
		return errors.Join(printOutcomes(a.stdout, done), err)
	})
}

func printOutcomes(w io.Writer, done []tuning.Outcome) error {
	for _, o := range done {
		text := o.From + " -> " + o.To
		if o.From == o.To {
			text = o.To + ", as it was"
		}
		switch {
		case o.From == "" && o.Note != "": // it was not looked at
			text = o.Note
		case o.Note != "":
			text += " (" + o.Note + ")"
		}
		if _, err := fmt.Fprintf(w, "  %s: %s\n", o.Knob, text); err != nil {
			return err
		}
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
