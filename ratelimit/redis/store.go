package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
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
	//go:embed lease.lua
	leaseScript string
)

// Store is the budgets that gateways share. Its methods may be called from any goroutine.
type Store struct {
	cfg     Config
	script  *rueidis.Lua // take.lua
	lending *rueidis.Lua // lease.lua
	limits  map[string]*ratelimit.Limit
	shared  map[*ratelimit.Limit]*policy
	local   *local.Store // of FallbackShare
	breaker breaker
	link    link
	begun   time.Time
	counts  counts
	// exec has the server run one of the two scripts. The fakes of tests take its place.
	exec func(ctx context.Context, script *rueidis.Lua, keys, args []string) ([]int64, error)

	leases  *table // nil if no policy has any
	flights flights
	swept   int // the shard that Run goes on with
}

// policy is one as a Store has it.
type policy struct {
	limit    *ratelimit.Limit
	whenGone Fallback
	share    *ratelimit.Limit
	window   uint64 // of a sliding counter, microseconds
	mode     Mode
	slice    uint64        // of a lease at most
	age      time.Duration // of what is not spent of it
	salt     uint64        // of its clients' hashes
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
		script: rueidis.NewLuaScript(commonScript + takeScript), lending: rueidis.NewLuaScript(commonScript + leaseScript),
		begun:   time.Now(),
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
	s.exec = s.send
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
	c := &policy{limit: l, whenGone: p.WhenGone}
	if l.Algorithm() == ratelimit.AlgorithmCounter {
		if l.Window()%time.Microsecond != 0 {
			return fmt.Errorf("quota %q: a window of %v: %w: want whole microseconds", l.Name(), l.Window(), ErrNotShared)
		}
		c.window = uint64(l.Window() / time.Microsecond) //nolint:gosec // positive
	}
	if c.share, err = p.Quota.Share(s.cfg.Gateways).Compile(); err != nil {
		return fmt.Errorf("a part of %d of it: %w", s.cfg.Gateways, err)
	}
	if err := s.addLeases(c, p); err != nil {
		return err
	}
	s.limits[l.Name()], s.shared[l] = l, c
	return nil
}

// Close ends the connections, and waits for one that is being made and for what was asked. Idempotent.
func (s *Store) Close() {
	s.flights.close()
	s.link.close()
}

// Limit is the policy of a name, for the checks of [Store.Take]; nil if there is none.
func (s *Store) Limit(name string) *ratelimit.Limit { return s.limits[name] }

// Take decides about a request under several policies, which are limits of this store: it is allowed if all do
// that are no shadows, and only then charged, with each that allows it. out has room for a decision of each. The error
// wraps [ErrGone] if Redis was not asked or did not answer: then each policy did what its Fallback says.
//
// A request that a policy with leases refuses is refused without asking: of a strict policy beside it, and of one whose
// lease has too little, out says then that it allows it, with nothing remaining.
func (s *Store) Take(ctx context.Context, checks []ratelimit.Check, out []ratelimit.Decision) (allowed bool, err error) {
	if s.leases != nil && s.anyLeased(checks) {
		return s.takeLeased(ctx, checks, out)
	}
	return s.takeStrict(ctx, checks, out)
}

// takeStrict asks Redis about all of them.
func (s *Store) takeStrict(ctx context.Context, checks []ratelimit.Check, out []ratelimit.Decision) (allowed bool, err error) {
	answer, err := s.ask(ctx, checks, false)
	if err != nil {
		return s.without(checks, out, err)
	}
	return s.decide(checks, answer, out)
}

// Charge takes a cost that is known only now, such as the bytes of an answer, whatever is left. From a client that has a
// lease it is taken there, and Redis hears of it, if it was more, with the next refill or within Config.LeaseAge: when more
// than a slice would be owed it is asked at once.
func (s *Store) Charge(ctx context.Context, checks []ratelimit.Check) error {
	if checks = s.owed(checks); len(checks) == 0 {
		return nil
	}
	if _, err := s.ask(ctx, checks, true); err != nil {
		return fmt.Errorf("charge: %w: %w", ErrGone, err)
	}
	return nil
}

var (
	errOpen   = errors.New("it did not answer those before")
	errAnswer = errors.New("it answered what the script does not")
)

// ask runs the script, if the breaker lets it.
func (s *Store) ask(ctx context.Context, checks []ratelimit.Check, force bool) ([]int64, error) {
	return s.guarded(ctx, func() ([]int64, error) { return s.run(ctx, checks, force, "") })
}

// guarded asks the server, if the breaker lets it. What a caller has given up says nothing about the server.
func (s *Store) guarded(ctx context.Context, ask func() ([]int64, error)) ([]int64, error) {
	if !s.breaker.may(s.clock()) {
		return nil, errOpen
	}
	answer, err := ask()
	if ctx.Err() == nil {
		s.breaker.note(s.clock(), err == nil)
		if err != nil {
			s.counts.fail(err)
		}
	}
	return answer, err
}

// clock is this store's: the time since it was made.
func (s *Store) clock() time.Duration { return time.Since(s.begun) }

// run runs the script at some time, none for that of the server's clock. Those of other goroutines go along with
// it, in one write.
func (s *Store) run(ctx context.Context, checks []ratelimit.Check, force bool, now ...string) ([]int64, error) {
	keys := make([]string, len(checks))
	args := append(make([]string, 0, 2+6*len(checks)), flag(force))
	args = append(args, now...)
	for i := range checks {
		c := &checks[i]
		keys[i] = s.key(c.Limit, string(c.Key))
		args = append(args, flag(c.Shadow))
		args = s.shared[c.Limit].arguments(args, c)
	}
	return s.exec(ctx, s.script, keys, args)
}

// key is where the server keeps a client of a policy.
func (s *Store) key(l *ratelimit.Limit, client string) string {
	return s.cfg.Prefix + l.Name() + ":" + client
}

// send has the server run a script.
func (s *Store) send(ctx context.Context, script *rueidis.Lua, keys, args []string) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	client, err := s.link.get(ctx)
	if err != nil {
		return nil, err
	}
	s.counts.asked.Add(1)
	return script.Exec(ctx, client, keys, args).AsIntSlice()
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// arguments are those of take.lua for one policy.
func (p *policy) arguments(args []string, c *ratelimit.Check) []string {
	if p.window > 0 {
		return append(args, "counter", number(min(c.Cost, maxCost)), number(c.Limit.Count()), number(p.window))
	}
	cost, limit := c.Limit.Ticks(c.Cost)
	return pair(pair(append(args, "gcra"), cost), limit)
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// pair are the two halves of a number that Lua's cannot be.
func pair(args []string, n uint64) []string { return append(args, number(n>>32), number(n&mask)) }

const (
	mask    = 1<<32 - 1
	maxCost = 1<<50 - 1
	// ticksPerMicro are those of the server's clock.
	ticksPerMicro = uint64(time.Microsecond) * ratelimit.TicksPerNano
)

// words reads an answer. Its err says that the answer is not one of the script's.
type words struct {
	left []int64
	err  error
}

func (w *words) next() (v uint64) {
	if len(w.left) == 0 || w.left[0] < -1 {
		w.err = errAnswer
		return 0
	}
	v, w.left = uint64(max(w.left[0], 0)), w.left[1:] //nolint:gosec // not negative
	return v
}

// state is that of a client of a policy.
func (w *words) state(p *policy) (st ratelimit.State) {
	if p.window == 0 {
		st.Until = w.next()<<32 | w.next()
		return st
	}
	number := w.next()
	st.Units, st.Before = w.next(), w.next()
	switch {
	case st.Units > 0:
		st.Until = (number + 2) * p.window * ticksPerMicro
	case st.Before > 0:
		st.Until = (number + 1) * p.window * ticksPerMicro
	}
	return st
}

// decide makes decisions of the states that the script has found, by the same arithmetic.
func (s *Store) decide(checks []ratelimit.Check, answer []int64, out []ratelimit.Decision) (allowed bool, err error) {
	w := words{left: answer}
	now := w.next() * ticksPerMicro
	allowed = true
	for i := range checks {
		c := &checks[i]
		said := w.next() == 1
		st := w.state(s.shared[c.Limit])
		out[i] = c.Limit.Decide(&st, now, c.Cost)
		if w.err == nil && out[i].Allowed != said {
			w.err = errAnswer
		}
		allowed = allowed && (said || c.Shadow)
	}
	if w.err != nil || len(w.left) > 0 {
		s.counts.fail(errAnswer)
		return s.without(checks, out, errAnswer)
	}
	return allowed, nil
}

// without decides by what the policies fall back to.
func (s *Store) without(checks []ratelimit.Check, out []ratelimit.Decision, why error) (allowed bool, err error) {
	s.counts.gone.Add(1)
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
	now := uint64(s.clock()) * ratelimit.TicksPerNano //nolint:gosec // positive
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
