package loop

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"weir/token"

	"github.com/panjf2000/gnet/v2"
)

// maxChecks bounds the tokens that wait to be checked, on half of the CPUs: a second's worth of the slower
// algorithms. Past it clients are told to come back.
const maxChecks = 1024

// checks is where tokens are checked: beside the event loops, as TLS handshakes are. A check takes 0.02 ms by HS256,
// 0.08 by RS256, 0.12 by EdDSA, 0.15 by ES256, 1.2 by ES384 and 6 by ES512 (go test -bench Verify ./token): little for
// one, but those that come at once, in a storm of reconnects or with forged tokens, would on a loop hold up the events
// of all that are connected for as long as they take together.
type checks struct {
	verifier *token.Verifier
	queue    chan func()
	workers  int32 // at most
	running  atomic.Int32
	wg       sync.WaitGroup
}

func newChecks(v *token.Verifier) *checks {
	return &checks{verifier: v, queue: make(chan func(), maxChecks), workers: int32(max(1, runtime.NumCPU()/2))} //nolint:gosec // a count of CPUs
}

// run has f called soon, by a goroutine that ends when there is nothing left to do; false if too much waits.
func (k *checks) run(f func()) bool {
	select {
	case k.queue <- f:
		k.start()
		return true
	default:
		return false
	}
}

func (k *checks) start() {
	for {
		n := k.running.Load()
		if n >= k.workers {
			return
		}
		if k.running.CompareAndSwap(n, n+1) {
			k.wg.Go(k.work)
			return
		}
	}
}

func (k *checks) work() {
	for {
		select {
		case f := <-k.queue:
			f()
			continue
		default:
		}
		k.running.Add(-1)
		if len(k.queue) > 0 { // it came while this one still counted
			k.start()
		}
		return
	}
}

// wait returns when nothing is checked any more. Nothing is to be run from then on.
func (k *checks) wait() { k.wg.Wait() }

// check has the request's token checked, and goes on from there. Until then its n bytes are left where they are: in a
// takeover they go over, and are read anew.
func (c *conn) check(o *opening, n int) {
	l, text := c.loop, o.token
	o.token = ""
	c.aside |= asideChecking
	ok := l.server.checks.run(func() {
		claims, err := l.server.checks.verifier.Verify(text)
		// After the engine's end there is nobody to tell.
		_ = l.el.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
			l.whenServed(func() { c.checked(o, n, claims, err) })
			return nil
		}))
	})
	if !ok {
		c.aside &^= asideChecking
		c.respondRefusal(errTooManyChecks)
	}
}

// whenServed calls f, in a takeover when that has failed or succeeded: conns on their way are not to be touched.
func (l *loop) whenServed(f func()) {
	if l.frozen {
		l.postponed = append(l.postponed, f)
		return
	}
	f()
}

// servePostponed calls what came during a takeover.
func (l *loop) servePostponed() {
	all := l.postponed
	l.postponed = nil
	for _, f := range all {
		f()
	}
}

// checked goes on with a request whose token was checked.
func (c *conn) checked(o *opening, n int, claims *token.Claims, err error) {
	if c.state != stateHead || c.aside&asideChecking == 0 {
		return // it has ended meanwhile
	}
	c.aside &^= asideChecking
	l := c.loop
	switch {
	case err != nil:
		err = refusedToken(err)
	case l.draining:
		err = errDraining
	default:
		err = l.mayOpen(o, claims)
	}
	if err == nil && !l.server.identities.Admit(claims.Subject) {
		err = errIdentityFull
	}
	if err != nil {
		c.respondRefusal(err)
		return
	}
	c.identify(&who{subject: claims.Subject, class: claims.Class, until: claims.Until.Unix()})
	c.discard(n)
	c.begin(o)
}
