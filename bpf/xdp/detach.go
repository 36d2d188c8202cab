package xdp

import (
	"errors"
	"fmt"
)

// Detach takes the program off its interface, for another process to put its own there, and keeps what is loaded.
// [Program.Attach] has it on again as it was, with its policy, its clients and its counters. Neither loads a program, so
// neither needs CAP_PERFMON: connections are watched meanwhile by the programs that are there. With Config.Pin the program
// stays on the interface until another takes its place in the pinned links. What that one tells of clients is kept then, and
// the policy and the mode are again those of p. Detached already, it does nothing.
func (p *Program) Detach() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open("detach"); err != nil {
		return err
	}
	var errs []error
	if p.link != nil {
		errs = append(errs, p.link.Close())
		p.link, p.how, p.fallback = nil, "", nil
	}
	if p.pins != nil {
		p.away = true
		if p.conns != nil { // else another's pinned links would be beside these
			errs = append(errs, p.conns.unhook())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detach xdp_weir from %s: %w", p.cfg.Interface, err)
	}
	return nil
}

// comeBack takes the pinned state back from a program that had it meanwhile. p.mu is held.
func (p *Program) comeBack() error {
	if p.conns != nil {
		if err := errors.Join(p.conns.unhook(), p.conns.hook(p.features, p.pins)); err != nil {
			return err
		}
	}
	is, err := p.readWord()
	if err != nil {
		return err
	}
	if old, policy := p.policyWord(), p.policy; is.Epoch != old.Epoch {
		p.policy = Policy{} // what the budgets of its classes have used is another policy's
		if err := p.takeBack(is, policy, Mode(old.Mode)); err != nil {
			p.policy = policy
			p.setWord(old)
			return err
		}
	}
	p.away = false
	return nil
}

// takeBack reads what another program told of clients under the word is, and has a policy and a mode hold again. p.mu is held.
func (p *Program) takeBack(is weirPolicy, policy Policy, m Mode) error {
	listed, err := policy.listed(p.cfg)
	if err != nil {
		return err
	}
	p.setWord(is)
	p.adopted = true
	if err := p.hear(); err != nil {
		return err
	}
	return p.write(policy, listed, &m)
}

// hear is startTold of a program that is in use. p.mu is held.
func (p *Program) hear() error {
	p.escalating.Lock()
	defer p.escalating.Unlock()
	p.use.Lock()
	defer p.use.Unlock()
	return p.startTold()
}

func (p *Program) setWord(is weirPolicy) {
	p.wordMu.Lock()
	defer p.wordMu.Unlock()
	p.word = is
}
