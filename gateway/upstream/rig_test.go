package upstream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// epoch is when the pools of tests are made.
var epoch = time.Unix(1_800_000_000, 0)

var errCheck = errors.New("check failed")

// servers are n, with weights in turn, 1 if there are none.
func servers(n int, weights ...int) (all []ServerConfig) {
	for i := range n {
		s := ServerConfig{Address: fmt.Sprintf("192.0.2.%d:80", i)}
		if len(weights) > 0 {
			s.Weight = weights[i%len(weights)]
		}
		all = append(all, s)
	}
	return all
}

// seeded is the same bits each time; for one goroutine.
func seeded() Env { return Env{Random: rand.New(rand.NewPCG(1, 2)).Uint64} }

// rig is a pool with a clock.
type rig struct {
	*testing.T
	*Pool
	now time.Time
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	p, err := New(cfg, seeded(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{T: t, Pool: p, now: epoch}
}

func (r *rig) pick(tried *Tried) *Server {
	r.Helper()
	s, err := r.Pick(r.now, 0, tried)
	if err != nil {
		r.Fatal(err)
	}
	return s
}

func (r *rig) refused(want error) {
	r.Helper()
	if s, err := r.Pick(r.now, 0, nil); !errors.Is(err, want) {
		r.Fatalf("%v, %v; want %v", s, err, want)
	}
}

// ask is a request to one server, which must be usable, with an outcome; others asked meanwhile answer well.
func (r *rig) ask(s *Server, o Outcome) {
	r.Helper()
	for range 1000 {
		got := r.pick(nil)
		if got == s {
			got.Done(r.now, o, 0)
			return
		}
		got.Done(r.now, Canceled, 0)
	}
	r.Fatalf("%s gets nothing", s.Address())
}

// gets reports whether a server is given any of many requests.
func (r *rig) gets(s *Server) bool {
	r.Helper()
	for range 1000 {
		got := r.pick(nil)
		got.Done(r.now, Canceled, 0)
		if got == s {
			return true
		}
	}
	return false
}

func (r *rig) state(s *Server) State {
	r.Helper()
	for _, st := range r.Status(r.now) {
		if st.Address == s.address {
			return st.State
		}
	}
	r.Fatalf("%s is not there", s.address)
	return 0
}

func (r *rig) want(s *Server, state State) {
	r.Helper()
	if got := r.state(s); got != state {
		r.Fatalf("%s is %v, want %v", s.address, got, state)
	}
}

// counts are how many of n requests in a row, each over before the next, go to which server.
func (r *rig) counts(n int, key func(i int) uint64) map[string]int {
	r.Helper()
	all := map[string]int{}
	for i := range n {
		k := uint64(0)
		if key != nil {
			k = key(i)
		}
		s, err := r.Pick(r.now, k, nil)
		if err != nil {
			r.Fatal(err)
		}
		s.Done(r.now, OK, 0)
		all[s.address]++
	}
	return all
}
