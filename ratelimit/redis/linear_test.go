package redis

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"weir/ratelimit"

	"github.com/anishathalye/porcupine"
)

// call is one operation on a strict store, of a client under policies a and b; said is what came of it.
type call struct {
	client string
	costs  [2]uint64
	charge bool
}

type said struct {
	allowed   bool
	decisions [2]ratelimit.Decision
}

// used is what a client has had of both policies: the sequential model's state. The quotas are so slow that none comes
// back while the test runs.
type used [2]uint64

var quotas = used{20, 30}

// step is the sequential model: what a call on that state says, and the state after it.
func (u used) step(c call) (allowed bool, ok [2]bool, remaining, next used) {
	allowed, next = true, u
	for i := range u {
		ok[i] = u[i]+c.costs[i] <= quotas[i]
		allowed = allowed && ok[i]
		remaining[i] = quotas[i] - min(u[i], quotas[i])
		if ok[i] {
			remaining[i] -= c.costs[i]
		}
	}
	for i := range u {
		if c.charge || allowed {
			next[i] = min(u[i]+c.costs[i], 2*quotas[i])
		}
	}
	return allowed, ok, remaining, next
}

var sequential = porcupine.Model{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		byClient := map[string][]porcupine.Operation{}
		for _, op := range history {
			client := op.Input.(call).client //nolint:forcetypeassert // as they are made
			byClient[client] = append(byClient[client], op)
		}
		for _, ops := range byClient {
			parts = append(parts, ops)
		}
		return parts
	},
	Init: func() any { return used{} },
	Step: func(state, input, output any) (bool, any) {
		u, c, got := state.(used), input.(call), output.(said) //nolint:forcetypeassert // as they are made
		allowed, ok, remaining, next := u.step(c)
		if c.charge {
			return true, next
		}
		for i, d := range got.decisions {
			if d.Allowed != ok[i] || d.Remaining != remaining[i] {
				return false, u
			}
		}
		return got.allowed == allowed, next
	},
}

// TestStrictStoreIsLinearizable: what three gateways said to requests at once is what one would have said to the same, one
// after the other, in an order in which each came between its beginning and its end.
func TestStrictStoreIsLinearizable(t *testing.T) {
	address := startRedis(t, "").address
	slow := func(name string, count uint64) Policy {
		return Policy{Quota: ratelimit.Quota{Name: name, Rate: ratelimit.Rate{Count: count, Per: 1000 * time.Hour}}}
	}
	var mu sync.Mutex
	var history []porcupine.Operation
	var wg sync.WaitGroup
	began := time.Now()
	for g := range 3 {
		s := open(t, Config{Addresses: []string{address}}, slow("a", quotas[0]), slow("b", quotas[1]))
		for n := range 4 {
			worker := 4*g + n
			wg.Go(func() {
				for i := range 25 {
					c := call{client: fmt.Sprint((worker + i) % 5), costs: [2]uint64{uint64(i+worker) % 3, uint64(i) % 2}, charge: (i+worker)%11 == 0}
					checks := checksOf(s, c.client, 0, "a", "b")
					checks[0].Cost, checks[1].Cost = c.costs[0], c.costs[1]
					var got said
					var err error
					from := time.Since(began)
					if c.charge {
						err = s.Charge(t.Context(), checks)
					} else {
						got.allowed, err = s.Take(t.Context(), checks, got.decisions[:])
					}
					to := time.Since(began)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					history = append(history, porcupine.Operation{ClientId: worker, Input: c, Call: int64(from), Output: got, Return: int64(to)})
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	if r := porcupine.CheckOperationsTimeout(sequential, history, time.Minute); r != porcupine.Ok {
		t.Errorf("%d operations: %v", len(history), r)
	}
	// That it can be told: an answer that was never right.
	for i := range history {
		if got := history[i].Output.(said); got.allowed && history[i].Input.(call).costs[0] > 0 { //nolint:forcetypeassert // as they are made
			got.decisions[0].Remaining++
			history[i].Output = got
			break
		}
	}
	if r := porcupine.CheckOperationsTimeout(sequential, history, time.Minute); r != porcupine.Illegal {
		t.Errorf("a wrong answer among %d: %v", len(history), r)
	}
}
