package admit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func TestIdentitiesHoldTheirLimitUnderContention(t *testing.T) {
	const most, tries = 7, 100
	i := NewIdentities(most)
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for range tries {
		wg.Go(func() {
			if i.Admit("alice") {
				admitted.Add(1)
			}
			if i.Admit("bob") {
				i.Release("bob")
			}
		})
	}
	wg.Wait()
	if admitted.Load() != most || i.Held() != 1 {
		t.Errorf("%d of %d admitted, %d identities", admitted.Load(), tries, i.Held())
	}
	i.Adopt("alice") // one too many, which is given back like the others
	for range most + 1 {
		i.Release("alice")
	}
	if i.Held() != 0 || !i.Admit("alice") {
		t.Errorf("%d identities hold what they gave back", i.Held())
	}
}

func TestIdentitiesWithoutALimit(t *testing.T) {
	i := NewIdentities(0)
	for range 10 {
		if !i.Admit("alice") {
			t.Fatal("refused")
		}
	}
	i.Release("bob")
	if i.Held() != 0 {
		t.Error("they are counted")
	}
}

func TestIdentitiesAreCountedAsByAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 3).Draw(t, "most")
		i, model := NewIdentities(most), map[string]int{}
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			name := fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "who"))
			switch {
			case rapid.Bool().Draw(t, "comes"):
				if got := i.Admit(name); got != (model[name] < most) {
					t.Fatalf("%s with %d conns: %v", name, model[name], got)
				} else if got {
					model[name]++
				}
			case model[name] > 0:
				i.Release(name)
				model[name]--
			}
		}
		held := 0
		for _, n := range model {
			if n > 0 {
				held++
			}
		}
		if i.Held() != held {
			t.Fatalf("%d identities, want %d", i.Held(), held)
		}
	})
}

func TestReleasingAnIdentityThatHoldsNothingIsABug(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it goes unnoticed")
		}
	}()
	NewIdentities(1).Release("alice")
}
