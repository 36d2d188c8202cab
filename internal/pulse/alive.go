package pulse

import (
	"context"
	"fmt"
)

// Ask has f called on an event loop, as a task of its own, and does not wait for it. Its error says that the loop takes none: it
// has ended, or not begun.
type Ask func(f func()) error

// Alive asks each event loop for an answer. The error says how many have given none when ctx ends; nil if the loops have stopped,
// or have not begun.
func Alive(ctx context.Context, loops []Ask, stopped <-chan struct{}) error {
	answers := make(chan struct{}, len(loops))
	asked := 0
	for _, ask := range loops {
		if ask(func() { answers <- struct{}{} }) == nil {
			asked++
		}
	}
	for n := range asked {
		select {
		case <-answers:
		case <-stopped:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%d of %d event loops do not answer: %w", asked-n, len(loops), ctx.Err())
		}
	}
	return nil
}
