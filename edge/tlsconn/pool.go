package tlsconn

import "sync"

// pool runs at most bound functions at once, and lets as many more wait, first come, first served.
type pool struct {
	bound int

	mu      sync.Mutex
	running int
	waiting []func()
	wg      sync.WaitGroup
}

// run reports whether f runs, or will.
func (p *pool) run(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running < p.bound {
		p.running++
		p.wg.Go(func() { p.work(f) })
		return true
	}
	if len(p.waiting) >= p.bound {
		return false
	}
	p.waiting = append(p.waiting, f)
	return true
}

// work calls f, then what waits, on the same goroutine.
func (p *pool) work(f func()) {
	for f != nil {
		f()
		f = p.next()
	}
}

func (p *pool) next() func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		p.running--
		return nil
	}
	f := p.waiting[0]
	p.waiting[0] = nil
	p.waiting = p.waiting[1:]
	return f
}

func (p *pool) wait() { p.wg.Wait() }
