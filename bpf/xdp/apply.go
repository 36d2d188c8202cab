package xdp

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/cilium/ebpf"
)

// listBatch is how many entries are written by one call.
const listBatch = 4096

// SetMode switches the mode by one map write: the next packet is judged by it.
func (p *Program) SetMode(m Mode) error {
	if err := m.validate(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.policyWord()
	next.Mode = uint8(m) //nolint:gosec // a handful
	return p.writeWord(next)
}

// Mode is the mode set last.
func (p *Program) Mode() Mode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Mode(p.policyWord().Mode)
}

// Policy is the policy that holds.
func (p *Program) Policy() Policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.policy.clone()
}

// writeWord is the one write that switches mode and policy. p.mu is held.
func (p *Program) writeWord(next weirPolicy) error {
	if err := p.open("write the policy"); err != nil {
		return err
	}
	p.wordMu.Lock()
	defer p.wordMu.Unlock()
	return p.putWord(next)
}

// Replace makes next the policy, whole or not at all: it is written beside the one that holds, and
// then one write switches. A packet on its way is judged by the old one or by the new. Clients in
// the table keep what they owe, cut to what their new quotas can have them owe, and are looked up
// anew at their next packet. An error leaves the policy as it was; it wraps [ErrListFull] if there
// are too many entries, or is that of [Policy.Validate].
func (p *Program) Replace(next Policy) error { return p.replace(next, nil) }

// Switch is [Program.Replace], and [Program.SetMode] by the same write.
func (p *Program) Switch(next Policy, m Mode) error {
	if err := m.validate(); err != nil {
		return err
	}
	return p.replace(next, &m)
}

func (p *Program) replace(next Policy, m *Mode) error {
	if err := next.Validate(p.cfg); err != nil {
		return err
	}
	listed, err := next.listed(p.cfg)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open("write the policy"); err != nil {
		return err
	}
	return p.write(next, listed, m)
}

// write is replace of a valid policy, and of what it lists. p.mu is held.
func (p *Program) write(next Policy, listed map[netip.Prefix]Entry, m *Mode) (err error) {
	old := p.policyWord()
	word := weirPolicy{Epoch: old.Epoch + 1, Mode: old.Mode, Samples: old.Samples, Generation: 1 - old.Generation}
	if m != nil {
		word.Mode = uint8(*m) //nolint:gosec // a handful
	}
	if word.Flags, err = p.writeLists(uint32(word.Generation), listed); err != nil {
		return err
	}
	if err := p.writeClasses(uint32(word.Generation), next); err != nil {
		return err
	}
	if err := p.writeLabels(uint32(word.Generation), next.Classes); err != nil {
		return err
	}
	if err := p.writeWord(word); err != nil {
		return err
	}
	p.policy = next.clone()
	// The kernel lets a map of maps' writer wait until no packet uses what was there: after this
	// write nobody is left who read the old word, and its generation may be written again.
	if p.lists[word.Generation][0] != nil {
		return p.objs.ListsV4.Put(uint32(word.Generation), p.lists[word.Generation][0])
	}
	return nil
}

// writeLists makes the lists of a generation and puts them into place. p.mu is held.
func (p *Program) writeLists(generation uint32, listed map[netip.Prefix]Entry) (flags uint8, err error) {
	byFamily := [2]map[netip.Prefix]Entry{{}, {}}
	for at, e := range listed {
		if at.Addr().Is4() {
			byFamily[0][at] = e
		} else {
			byFamily[1][at] = e
		}
	}
	for family, entries := range byFamily {
		list, err := newList(entries)
		if err != nil {
			return 0, err
		}
		outer := p.objs.ListsV4
		if family == 1 {
			outer = p.objs.ListsV6
		}
		if err := outer.Put(generation, list); err != nil {
			return 0, errors.Join(fmt.Errorf("put a list into place: %w", err), list.Close())
		}
		if old := p.lists[generation][family]; old != nil {
			_ = old.Close() // the map of maps had the last reference
		}
		p.lists[generation][family] = list
		if len(entries) == 0 {
			continue
		}
		if err := p.writeHeads(generation, family, entries); err != nil {
			return 0, err
		}
		flags |= uint8(listedV4) << family
	}
	return flags, nil
}

// newList is a trie of entries.
func newList(entries map[netip.Prefix]Entry) (*ebpf.Map, error) {
	list, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "weir_list", Type: ebpf.LPMTrie, KeySize: 20, ValueSize: 4,
		MaxEntries: uint32(max(len(entries), 1)), Flags: bpfNoPrealloc, //nolint:gosec // bounded by memory
	})
	if err != nil {
		return nil, fmt.Errorf("make a list of %d prefixes: %w", len(entries), listError(err))
	}
	keys, values := make([]weirPrefix, 0, len(entries)), make([]weirListed, 0, len(entries))
	for at, e := range entries {
		keys, values = append(keys, keyOf(at)), append(values, e.encode())
	}
	if err := putAll(list, keys, values); err != nil {
		return nil, errors.Join(fmt.Errorf("list %d prefixes: %w", len(entries), listError(err)), list.Close())
	}
	return list, nil
}

// putAll writes entries of a map in batches, or one by one where the kernel knows no batches of its
// kind.
func putAll[K, V any](m *ebpf.Map, keys []K, values []V) error {
	for len(keys) > 0 {
		n := min(len(keys), listBatch)
		_, err := m.BatchUpdate(keys[:n], values[:n], nil)
		for i := 0; i < n && errors.Is(err, ebpf.ErrNotSupported); i++ {
			if one := m.Put(keys[i], values[i]); one != nil || i == n-1 {
				err = one
			}
		}
		if err != nil {
			return err
		}
		keys, values = keys[n:], values[n:]
	}
	return nil
}

// bpfNoPrealloc is BPF_F_NO_PREALLOC, which a trie must have.
const bpfNoPrealloc = 1

func listError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.E2BIG) {
		return fmt.Errorf("%w: merge prefixes: %w", ErrListFull, err)
	}
	return err
}

func (e Entry) encode() weirListed {
	l := weirListed{ClassId: uint8(e.Class)} //nolint:gosec // validated
	if e.Allow {
		l.Flags |= slotAllowed
	}
	if e.Deny {
		l.Flags |= slotDenied
	}
	return l
}

// keyOf is a listed prefix as the lists' key.
func keyOf(p netip.Prefix) weirPrefix {
	key := weirPrefix{Bits: uint32(p.Bits())} //nolint:gosec // 0 to 128
	copy(key.Addr[:], p.Addr().AsSlice())
	return key
}

// writeClasses writes the classes and rules of a generation, and forgets what the budgets of
// classes that change have used: under other quotas it means something else. p.mu is held.
func (p *Program) writeClasses(generation uint32, next Policy) error {
	cpus, epoch := possibleCPUs(), p.policyWord().Epoch
	for i := range maxClasses {
		var c, had Class
		if i < len(next.Classes) {
			c = next.Classes[i]
		}
		if i < len(p.policy.Classes) {
			had = p.policy.Classes[i]
		}
		if p.proofless {
			c.SlotsForAll = true
		}
		id := uint32(i)                                                                                     //nolint:gosec // a handful
		if err := p.objs.Classes.Put(generation*maxClasses+id, c.encode(p.cfg, uint64(cpus))); err != nil { //nolint:gosec // positive
			return fmt.Errorf("write class %d of xdp_weir: %w", i, err)
		}
		if c == had || epoch > 0 && i >= len(p.policy.Classes) && i >= len(next.Classes) {
			continue
		}
		if err := p.objs.Pools.Put(id, weirPool{}); err != nil {
			return fmt.Errorf("write class %d of xdp_weir: %w", i, err)
		}
		if err := p.objs.CpuPurses.Put(id, make([]weirPurses, cpus)); err != nil {
			return fmt.Errorf("write class %d of xdp_weir: %w", i, err)
		}
	}
	var rules weirRules
	for _, r := range next.Pass {
		rules.Pass |= 1 << r
	}
	if err := p.objs.PolicyRules.Put(generation, rules); err != nil {
		return fmt.Errorf("write the rules of xdp_weir: %w", err)
	}
	return nil
}
