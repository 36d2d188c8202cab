package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"weir/ratelimit"
	"weir/ratelimit/local"

	"github.com/redis/rueidis"
)

var (
	//go:embed common.lua
	commonScript string
	//go:embed take.lua
	takeScript string
)

// Store is the budgets that gateways share. Its methods may be called from any goroutine.
type Store struct {
	cfg     Config
	script  *rueidis.Lua
	limits  map[string]*ratelimit.Limit
	shared  map[*ratelimit.Limit]*policy
	local   *local.Store // of FallbackShare
	breaker breaker
	link    link
	begun   time.Time
	gone    atomic.Uint64
}

// policy is one as a Store has it.
type policy struct {
	whenGone Fallback
	share    *ratelimit.Limit
	window   uint64 // of a sliding counter, microseconds
}

// New connects to Redis when it is first asked: that it is gone is no error. The error says which policies cannot
// be shared, or what of the configuration is wrong.
func New(cfg Config, policies []Policy) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Store{
		cfg: cfg, limits: map[string]*ratelimit.Limit{}, shared: map[*ratelimit.Limit]*policy{},
		script: rueidis.NewLuaScript(commonScript + takeScript), begun: time.Now(),
		breaker: breaker{failures: cfg.Failures, retry: cfg.Retry},
	}
	var errs []error
	for _, p := range policies {
		errs = append(errs, s.add(p))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var err error
	if s.local, err = local.New(local.Config{}); err != nil {
		return nil, err
	}
	s.link.option = option(cfg)
	return s, nil
}

// add compiles a policy, and this gateway's share of it.
func (s *Store) add(p Policy) error {
	l, err := p.Quota.Compile()
	if err != nil {
		return err
	}
	if s.limits[l.Name()] != nil {
		return fmt.Errorf("quota %q: there are two of that name", l.Name())
	}
	if l.Unit() == ratelimit.UnitConcurrentRequests || l.Algorithm() == ratelimit.AlgorithmLog {
		return fmt.Errorf("quota %q: %s of %s: %w: use gcra or sliding-counter, or keep it local", l.Name(), l.Algorithm(), l.Unit(), ErrNotShared)
	}
	c := &policy{whenGone: p.WhenGone}
	if l.Algorithm() == ratelimit.AlgorithmCounter {
		if l.Window()%time.Microsecond != 0 {
			return fmt.Errorf("quota %q: a window of %v: %w: want whole microseconds", l.Name(), l.Window(), ErrNotShared)
		}
		c.window = uint64(l.Window() / time.Microsecond) //nolint:gosec // positive
	}
	if c.share, err = p.Quota.Share(s.cfg.Gateways).Compile(); err != nil {
		return fmt.Errorf("a part of %d of it: %w", s.cfg.Gateways, err)
	}
	s.limits[l.Name()], s.shared[l] = l, c
	return nil
}

// Close ends the connections, and waits for one that is being made. Idempotent.
func (s *Store) Close() { s.link.close() }

// Limit is the policy of a name, for the checks of [Store.Take]; nil if there is none.
func (s *Store) Limit(name string) *ratelimit.Limit { return s.limits[name] }

// Gone is how many decisions were made without Redis.
func (s *Store) Gone() uint64 { return s.gone.Load() }

// Take decides about a request under several policies, which are limits of this store: it is allowed if all do
// that are no shadows, and only then charged, with each that allows it. out has room for a decision of each. The error
// wraps [ErrGone] if Redis was not asked or did not answer: then each policy did what its Fallback says.
func (s *Store) Take(ctx context.Context, checks []ratelimit.Check, out []ratelimit.Decision) (allowed bool, err error) {
	answer, err := s.ask(ctx, checks, false)
	if err != nil {
		return s.without(checks, out, err)
	}
	return s.decide(checks, answer, out)
}

// Charge takes a cost that is known only now, such as the bytes of an answer, whatever is left.
func (s *Store) Charge(ctx context.Context, checks []ratelimit.Check) error {
	if _, err := s.ask(ctx, checks, true); err != nil {
		return fmt.Errorf("charge: %w: %w", ErrGone, err)
	}
	return nil
}

var (
	errOpen   = errors.New("it did not answer those before")
	errAnswer = errors.New("it answered what the script does not")
)

// ask runs the script, if the breaker lets it. What a caller has given up says nothing about the server.
func (s *Store) ask(ctx context.Context, checks []ratelimit.Check, force bool) ([]int64, error) {
	if !s.breaker.may(time.Since(s.begun)) {
		return nil, errOpen
	}
	answer, err := s.run(ctx, checks, force, "")
	if ctx.Err() == nil {
		s.breaker.note(time.Since(s.begun), err == nil)
	}
	return answer, err
}

// run runs the script at some time, none for that of the server's clock. Those of other goroutines go along with
// it, in one write.
func (s *Store) run(ctx context.Context, checks []ratelimit.Check, force bool, now ...string) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	client, err := s.link.get(ctx)
	if err != nil {
		return nil, err
	}
	keys := make([]string, len(checks))
	args := append(make([]string, 0, 2+6*len(checks)), flag(force))
	args = append(args, now...)
	for i := range checks {
		c := &checks[i]
		keys[i] = s.cfg.Prefix + c.Limit.Name() + ":" + string(c.Key)
		args = append(args, flag(c.Shadow))
		args = s.shared[c.Limit].arguments(args, c)
	}
	return s.script.Exec(ctx, client, keys, args).AsIntSlice()
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// arguments are those of take.lua for one policy.
func (p *policy) arguments(args []string, c *ratelimit.Check) []string {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	if p.window > 0 {
		return append(args, "counter", number(min(c.Cost, maxCost)), number(c.Limit.Count()), number(p.window))
	}
	cost, limit := c.Limit.Ticks(c.Cost)
	return append(args, "gcra", number(cost>>32), number(cost&mask), number(limit>>32), number(limit&mask))
}

const (
	mask    = 1<<32 - 1
	maxCost = 1<<50 - 1
	// ticksPerMicro are those of the server's clock.
	ticksPerMicro = uint64(time.Microsecond) * ratelimit.TicksPerNano
)

// decide makes decisions of the states that the script has found, by the same arithmetic.
func (s *Store) decide(checks []ratelimit.Check, answer []int64, out []ratelimit.Decision) (allowed bool, err error) {
	next := func() (v uint64) {
		if len(answer) == 0 || answer[0] < -1 {
			err = errAnswer
			return 0
		}
		v, answer = uint64(max(answer[0], 0)), answer[1:] //nolint:gosec // not negative
		return v
	}
	now := next() * ticksPerMicro
	allowed = true
	for i := range checks {
		c := &checks[i]
		said := next() == 1
		var st ratelimit.State
		if window := s.shared[c.Limit].window; window > 0 {
			number := next()
			st.Units, st.Before = next(), next()
			switch {
			case st.Units > 0:
				st.Until = (number + 2) * window * ticksPerMicro
			case st.Before > 0:
				st.Until = (number + 1) * window * ticksPerMicro
			}
		} else {
			st.Until = next()<<32 | next()
		}
		out[i] = c.Limit.Decide(&st, now, c.Cost)
		if err == nil && out[i].Allowed != said {
			err = errAnswer
		}
		allowed = allowed && (said || c.Shadow)
	}
	if err != nil || len(answer) > 0 {
		return s.without(checks, out, errAnswer)
	}
	return allowed, nil
}

// without decides by what the policies fall back to.
func (s *Store) without(checks []ratelimit.Check, out []ratelimit.Decision, why error) (allowed bool, err error) {
	s.gone.Add(1)
	err = fmt.Errorf("decide: %w: %w", ErrGone, why)
	allowed = true
	var of [local.MaxChecks]int
	shares := make([]ratelimit.Check, 0, len(checks))
	for i := range checks {
		c := checks[i]
		p := s.shared[c.Limit]
		out[i] = ratelimit.Decision{Allowed: true, Remaining: c.Limit.Count()}
		switch p.whenGone {
		case FallbackOpen:
		case FallbackClosed:
			out[i] = ratelimit.Decision{RetryAfter: s.cfg.Retry}
			allowed = allowed && c.Shadow
		default:
			of[len(shares)] = i
			c.Limit = p.share
			shares = append(shares, c)
		}
	}
	if len(shares) == 0 {
		return allowed, err
	}
	now := uint64(time.Since(s.begun)) * ratelimit.TicksPerNano //nolint:gosec // positive
	decisions := make([]ratelimit.Decision, len(shares))
	if allowed {
		allowed = s.local.Take(now, shares, decisions)
	} else { // another has refused: nothing is charged
		for i := range shares {
			decisions[i] = s.local.Peek(now, &shares[i])
		}
	}
	for i, d := range decisions {
		out[of[i]] = d
	}
	return allowed, err
}

// Overshoot is how many units of a policy all gateways together may let through beyond it each time that Redis
// goes and comes back, or another server takes its place: what their shares have at once, and what is there again
// if all is forgotten that was charged. bounded is false if there is no such number, as it is open meanwhile.
func (s *Store) Overshoot(name string) (units uint64, bounded bool) {
	l := s.limits[name]
	if l == nil {
		return 0, true
	}
	switch p := s.shared[l]; p.whenGone {
	case FallbackOpen:
		return 0, false
	case FallbackClosed:
		return l.Count(), true
	default:
		return l.Count() + uint64(s.cfg.Gateways)*p.share.Count(), true //nolint:gosec // Validate bounds it
	}
}
