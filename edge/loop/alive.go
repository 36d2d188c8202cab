package loop

import (
	"context"
	"fmt"

	"github.com/panjf2000/gnet/v2"
)

// Alive asks each event loop for an answer. The error says how many have given none when ctx ends; nil if the loops have stopped,
// or have not begun.
func (s *Server) Alive(ctx context.Context) error {
	loops := s.allLoops()
	answers := make(chan struct{}, len(loops))
	asked := 0
	for _, l := range loops {
		if l.el.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
			answers <- struct{}{}
			return nil
		})) == nil {
			asked++
		}
	}
	for n := range asked {
		select {
		case <-answers:
		case <-s.stopped:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%d of %d event loops do not answer: %w", asked-n, len(loops), ctx.Err())
		}
	}
	return nil
}
