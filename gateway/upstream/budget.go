package upstream

import "time"

// budgetSamples is in how many parts a window is looked at.
const budgetSamples = 10

// budget is how many retries there may be. The pool's mutex guards it.
type budget struct {
	retries uint64
	// samples are of the past, the newest at newest: of a window and more.
	samples [budgetSamples + 2]sample
	newest  int
	taken   int // samples
}

// sample is how many requests and retries there had been at a time.
type sample struct {
	at                int64
	requests, retries uint64
}

func (b *budget) due(r Retries) int64 {
	return b.samples[b.newest].at + int64(r.Window)/budgetSamples
}

// note takes a sample if the last one is old enough.
func (b *budget) note(at int64, r Retries, requests uint64) {
	if b.taken > 0 {
		if at < b.due(r) {
			return
		}
		b.newest = (b.newest + 1) % len(b.samples)
	}
	b.samples[b.newest] = sample{at, requests, b.retries}
	b.taken = min(b.taken+1, len(b.samples))
}

// start is the oldest sample that requests of the last window were counted after. Each request has the sample before it
// taken, if one is due, so what was counted after a sample and before the next was so within a part of a window.
func (b *budget) start(at int64, r Retries) (first sample) {
	part := int64(r.Window) / budgetSamples
	for i := range b.taken {
		s := b.samples[(b.newest-i+len(b.samples))%len(b.samples)]
		if i > 0 && s.at+part <= at-int64(r.Window) {
			break
		}
		first = s
	}
	return first
}

// spend takes a retry; false if there is none. requests are all so far, retries included.
func (b *budget) spend(at int64, r Retries, requests uint64) bool {
	b.note(at, r, requests)
	from := b.start(at, r)
	retries := b.retries - from.retries
	first := max(requests-from.requests, retries) - retries
	allowed := first*uint64(max(r.BudgetPercent, 0))/100 + uint64(max(r.MinPerSecond, 0))*uint64(r.Window)/uint64(time.Second) //nolint:gosec // not negative
	if retries >= allowed {
		return false
	}
	b.retries++
	return true
}

// MayRetry takes a retry of the budget at now; false if there is none left: the request is over. Whoever takes one is
// to Pick for it. It holds the pool's mutex for a walk over the servers.
func (p *Pool) MayRetry(now time.Time) bool {
	at := p.at(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cfg.Retries.Attempts > 1 && p.budget.spend(at, p.cfg.Retries, p.requests()) {
		p.counters.Retries++
		return true
	}
	p.counters.RetriesRefused++
	return false
}

// requests is how many the pool's servers were given. With the mutex.
func (p *Pool) requests() uint64 {
	n := p.gone
	for _, s := range p.servers {
		given, _, _ := s.requests()
		n += given
	}
	for _, s := range p.leaving {
		given, _, _ := s.requests()
		n += given
	}
	return n
}
