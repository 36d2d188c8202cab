package xdp

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// told is what user space has told the program of clients, beside the policy.
type told struct {
	escalating sync.Mutex   // writes of escalations
	use        sync.RWMutex // held for reading while maps are used without Program.mu, for writing to close them
	gone       bool

	wordMu sync.Mutex    // Program.word, and the writes of it: held for one call
	flags  atomic.Uint32 // those of the word that say what was told

	labels labels

	bound   atomic.Int64 // bindings put and not taken off by this program or those before
	unbound int64        // what the kernel's side had taken off when they were counted

	escalated                        atomic.Int64
	bindsRefused, escalationsRefused atomic.Uint64
}

// tell has the program look for bindings or escalations. It is called behind the write of one: whoever clears
// the flag meanwhile looks for it once more.
func (p *Program) tell(flag uint8) error {
	if p.flags.Load()&uint32(flag) != 0 {
		return nil
	}
	return p.setTold(flag, true)
}

// setTold writes a flag into the word that is there: it may be that of a program that takes over from this one.
func (p *Program) setTold(flag uint8, on bool) error {
	p.wordMu.Lock()
	defer p.wordMu.Unlock()
	old := p.flags.Load()
	now := old | uint32(flag)
	if !on {
		now = old &^ uint32(flag)
	}
	is, err := p.readWord()
	if err != nil {
		return err
	}
	p.flags.Store(now)
	if is.Epoch == p.word.Epoch {
		err = p.putWord(p.word)
	} else {
		err = p.objs.CurrentPolicy.Put(uint32(0), p.withTold(is))
	}
	if err != nil {
		p.flags.Store(old)
	}
	return err
}

// heed takes over what another program has told since this one was loaded, one that it takes over from, and
// tells again what that one took back.
func (p *Program) heed() error {
	p.wordMu.Lock()
	defer p.wordMu.Unlock()
	is, err := p.readWord()
	if err != nil {
		return err
	}
	p.flags.Or(uint32(is.Flags & (policyBound | policyEscalated)))
	if is.Epoch != p.word.Epoch {
		return nil
	}
	p.word = is
	return p.putWord(is)
}

func (p *Program) readWord() (is weirPolicy, err error) {
	if err := p.objs.CurrentPolicy.Lookup(uint32(0), &is); err != nil {
		return weirPolicy{}, fmt.Errorf("read the policy of xdp_weir: %w", err)
	}
	return is, nil
}

// withTold is a word with what was told.
func (p *Program) withTold(w weirPolicy) weirPolicy {
	w.Flags = w.Flags&^(policyBound|policyEscalated) | uint8(p.flags.Load()) //nolint:gosec // two bits
	return w
}

// putWord writes the policy's word, with what was told. p.wordMu is held.
func (p *Program) putWord(next weirPolicy) error {
	next = p.withTold(next)
	if next == p.word {
		return nil
	}
	if err := p.objs.CurrentPolicy.Put(uint32(0), next); err != nil {
		return fmt.Errorf("write the policy of xdp_weir: %w", err)
	}
	p.word = next
	return nil
}

// policyWord is the word that holds.
func (p *Program) policyWord() weirPolicy {
	p.wordMu.Lock()
	defer p.wordMu.Unlock()
	return p.word
}

// quiet has the program look for nothing where there is nothing. p.use is held.
func (p *Program) quiet() error {
	if p.flags.Load()&policyEscalated != 0 && p.escalated.Load() <= 0 {
		if err := p.quietOf(policyEscalated, p.objs.Escalations, new(uint64)); err != nil {
			return err
		}
	}
	if p.flags.Load()&policyBound == 0 {
		return nil
	}
	n, err := p.bindings()
	if err != nil || n > 0 {
		return err
	}
	return p.quietOf(policyBound, p.objs.Bindings, new(weirTuple))
}

// quietOf clears a flag if its map is empty. What was put while it did is seen by the second look, or by who
// put it, who finds the flag cleared.
func (p *Program) quietOf(flag uint8, m *ebpf.Map, key any) error {
	if empty, err := isEmpty(m, key); err != nil || !empty {
		return err
	}
	if err := p.setTold(flag, false); err != nil {
		return err
	}
	empty, err := isEmpty(m, key)
	if err != nil || !empty {
		return errors.Join(err, p.setTold(flag, true))
	}
	return nil
}

func isEmpty(m *ebpf.Map, key any) (bool, error) {
	err := m.NextKey(nil, key)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for what was told of clients: %w", err)
	}
	return false, nil
}

// bindings is how many there are.
func (p *Program) bindings() (int64, error) {
	n, err := p.unboundSoFar()
	return p.bound.Load() - (n - p.unbound), err
}

// startTold reads what an earlier program told.
func (p *Program) startTold() error {
	p.flags.Store(uint32(p.word.Flags & (policyBound | policyEscalated)))
	if err := p.readLabels(); err != nil {
		return err
	}
	if err := p.countBindings(); err != nil {
		return err
	}
	n := int64(0)
	if p.adopted {
		if err := eachEntry(p.objs.Escalations, func(*uint64, *weirEscalation) { n++ }); err != nil {
			return fmt.Errorf("count the escalations of the pinned state: %w", err)
		}
	}
	p.escalated.Store(n)
	return nil
}
