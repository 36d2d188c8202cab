package xdp

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/cilium/ebpf"
)

// maxAhead is how far ahead of the clock a quota may let a client be: a year. With ten years of
// uptime no sum in the program overflows.
const maxAhead = uint64(365*24*3600*1e9) << 4

// Class is the quota of a class of clients, in the program's terms: ratelimit compiles them. The
// zero value is no quota at all.
type Class struct {
	// Interval is the time between two packets of one client, Tolerance how far it may be
	// ahead: a burst's packets but one, times Interval. Ticks of 1/16 ns; their sum is a year
	// at most.
	Interval, Tolerance uint64
	// TotalInterval and TotalTolerance are the same for all clients without a slot together.
	TotalInterval, TotalTolerance uint64
}

// Validate reports every field that is out of range, joined; nil if all are fine.
func (c Class) Validate() error {
	var errs []error
	for _, q := range []struct {
		field               string
		interval, tolerance uint64
	}{{"Tolerance", c.Interval, c.Tolerance}, {"TotalTolerance", c.TotalInterval, c.TotalTolerance}} {
		if q.interval > maxAhead || q.tolerance > maxAhead-q.interval {
			errs = append(errs, &FieldError{q.field, q.tolerance, fmt.Sprintf("at most %d with its interval of %d: lower the burst", maxAhead-min(q.interval, maxAhead), q.interval)})
		}
	}
	if (c.Interval == 0) != (c.TotalInterval == 0) {
		errs = append(errs, &FieldError{"TotalInterval", c.TotalInterval, "a quota for both one client and all without a slot, or for neither"})
	}
	return errors.Join(errs...)
}

// SetMode switches the mode by one map write: the next packet is judged by it.
func (p *Program) SetMode(m Mode) error {
	if _, ok := modeNames[m]; !ok {
		return fmt.Errorf("mode %d: want off, shadow or enforce", m)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writePolicy(weirPolicy{Mode: uint32(m), Epoch: p.policy.Epoch})
}

// Mode is the mode set last.
func (p *Program) Mode() Mode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Mode(p.policy.Mode)
}

// writePolicy is the one write that switches mode and epoch. p.mu is held.
func (p *Program) writePolicy(next weirPolicy) error {
	if err := p.open("write the policy"); err != nil {
		return err
	}
	if next == p.policy {
		return nil
	}
	if err := p.objs.CurrentPolicy.Put(uint32(0), next); err != nil {
		return fmt.Errorf("write the policy of xdp_weir: %w", err)
	}
	p.policy = next
	return nil
}

// renew has every client in the table looked up anew at its next packet. p.mu is held.
func (p *Program) renew() error {
	return p.writePolicy(weirPolicy{Mode: p.policy.Mode, Epoch: p.policy.Epoch + 1})
}

// SetClass sets the quota of a class, 0 to 15. What a client owes under the old quota is cut to
// what it can owe under the new one, and the total begins anew. The same quota again is not
// written.
func (p *Program) SetClass(id int, c Class) error {
	if id < 0 || id >= int(p.objs.Classes.MaxEntries()) {
		return fmt.Errorf("class %d: want 0 to %d", id, p.objs.Classes.MaxEntries()-1)
	}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("class %d: %w", id, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open("write a class"); err != nil {
		return err
	}
	if old, ok := p.classes[id]; ok && old == c {
		return nil
	}
	key := uint32(id) //nolint:gosec // bounded above
	err := p.objs.Classes.Put(key, weirClass{
		Interval: c.Interval, Tolerance: c.Tolerance,
		TotalInterval: c.TotalInterval, TotalTolerance: c.TotalTolerance,
	})
	if err == nil {
		err = p.objs.Totals.Put(key, weirTotal{})
	}
	if err != nil {
		return fmt.Errorf("write class %d of xdp_weir: %w", id, err)
	}
	p.classes[id] = c
	return p.renew()
}

// ReplaceAllow makes the allow list exactly these prefixes, by difference. A prefix narrower
// than a client (Config's prefix bits) allows the whole client: a /128 its /64. Clients already
// in the table are looked up anew. An error leaves the list as it was; it wraps [ErrListFull] if
// there are too many.
func (p *Program) ReplaceAllow(prefixes []netip.Prefix) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open("write the allow list"); err != nil {
		return err
	}
	want := map[netip.Prefix]bool{}
	for _, x := range prefixes {
		if !x.IsValid() {
			return fmt.Errorf("allow %v: want a prefix such as 192.0.2.0/24", x)
		}
		want[p.cfg.listed(x)] = true
	}
	added, err := p.list(want)
	if err != nil {
		return errors.Join(err, p.unlist(added), p.renew())
	}
	var gone []netip.Prefix
	for x := range p.allow {
		if !want[x] {
			gone = append(gone, x)
		}
	}
	if len(added)+len(gone) == 0 {
		return nil
	}
	return errors.Join(p.unlist(gone), p.renew())
}

// list adds what is not listed yet, and returns it, also with an error. p.mu is held.
func (p *Program) list(want map[netip.Prefix]bool) (added []netip.Prefix, err error) {
	for x := range want {
		if p.allow[x] {
			continue
		}
		err := p.objs.Lists.Put(keyOf(x), weirListed{Flags: slotAllowed})
		if errors.Is(err, syscall.ENOSPC) {
			return added, fmt.Errorf("allow %s: %w: merge prefixes, it holds %d: %w", x, ErrListFull, p.objs.Lists.MaxEntries(), err)
		}
		if err != nil {
			return added, fmt.Errorf("allow %s: %w", x, err)
		}
		p.allow[x] = true
		added = append(added, x)
	}
	return added, nil
}

// unlist removes prefixes. p.mu is held.
func (p *Program) unlist(prefixes []netip.Prefix) error {
	var errs []error
	for _, x := range prefixes {
		if err := p.objs.Lists.Delete(keyOf(x)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("no longer allow %s: %w", x, err))
			continue
		}
		delete(p.allow, x)
	}
	return errors.Join(errs...)
}

// slotAllowed mirrors SLOT_ALLOWED of bpf/include/abi.h.
const slotAllowed = 1
