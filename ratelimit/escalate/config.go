package escalate

import (
	"errors"
	"fmt"
	"time"
)

// What a [Config] has by default, and at most.
const (
	defaultThreshold = 50
	defaultWindow    = 10 * time.Second
	defaultHold      = 30 * time.Second
	defaultFactor    = 2
	defaultMaxHold   = time.Hour
	defaultCalm      = 10 * time.Minute
	defaultOffenders = 4096

	mostThreshold = 1024
	mostFactor    = 16
	mostOffenders = 1 << 20
	mostTimes     = 1 << 24 // Threshold * Offenders
	mostTime      = 30 * 24 * time.Hour
)

// Config configures a [Table]. The zero value is valid.
type Config struct {
	// Threshold is how many refusals within Window escalate a client. 1 to 1024, default 50.
	Threshold int
	// Window is at least a millisecond, default 10 s.
	Window time.Duration
	// Share has only those escalated of whose requests since the first of these refusals so many of a hundred
	// were refused, so that who is a little above its quota is not cut. It needs [Table.Admitted]. 0 to 100,
	// default 0: it is not asked.
	Share int
	// Hold is how long a first escalation lasts: a millisecond or more, default 30 s. Each one after it, unless
	// the client was forgotten in between, is Factor times as long, MaxHold at most. Factor is 1 to 16, default 2;
	// MaxHold is Hold or more, default 1 h or Hold.
	Hold, MaxHold time.Duration
	Factor        int
	// CalmBelow and CalmFor are the hysteresis: who is not escalated, and was never refused CalmBelow times within
	// Window, for CalmFor, is forgotten: its next hold is a first one. CalmBelow is 1 to Threshold, default half of
	// that; CalmFor is a millisecond or more, default 10 min.
	CalmBelow int
	CalmFor   time.Duration
	// Offenders is how many are kept, a client of two policies twice: rounded up to a power of two, 16 to 1<<20,
	// default 4096. Each takes about 150 bytes and 8 for each of Threshold (16 with Share), there from the start;
	// the product of the two is at most 1<<24.
	Offenders int
}

// withDefaults is c with every zero field at its default.
func (c Config) withDefaults() Config {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	if c.Threshold == 0 {
		c.Threshold = defaultThreshold
	}
	set(&c.Window, defaultWindow)
	set(&c.Hold, defaultHold)
	set(&c.MaxHold, max(defaultMaxHold, c.Hold))
	set(&c.CalmFor, defaultCalm)
	if c.Factor == 0 {
		c.Factor = defaultFactor
	}
	if c.CalmBelow == 0 {
		c.CalmBelow = max(c.Threshold/2, 1)
	}
	if c.Offenders == 0 {
		c.Offenders = defaultOffenders
	}
	return c
}

// Validate reports every field that is out of range, joined; nil if all are fine.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	within := func(name string, is, least, most int) {
		if is < least || is > most {
			errs = append(errs, fmt.Errorf("escalation.%s is %d: want %d to %d", name, is, least, most))
		}
	}
	lasts := func(name string, is, least time.Duration) {
		if is < least || is > mostTime {
			errs = append(errs, fmt.Errorf("escalation.%s is %v: want %v to %v", name, is, least, mostTime))
		}
	}
	within("threshold", c.Threshold, 1, mostThreshold)
	within("share", c.Share, 0, 100)
	within("factor", c.Factor, 1, mostFactor)
	within("calm_below", c.CalmBelow, 1, max(c.Threshold, 1))
	within("offenders", c.Offenders, 2*ways, mostOffenders)
	lasts("window", c.Window, time.Millisecond)
	lasts("hold", c.Hold, time.Millisecond)
	lasts("max_hold", c.MaxHold, c.Hold)
	lasts("calm_for", c.CalmFor, time.Millisecond)
	if c.Threshold > 0 && c.Offenders > mostTimes/c.Threshold {
		errs = append(errs, fmt.Errorf("escalation.offenders is %d: want %d at most with a threshold of %d, or a lower threshold", c.Offenders, mostTimes/c.Threshold, c.Threshold))
	}
	return errors.Join(errs...)
}
