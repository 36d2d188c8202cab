package loop

import (
	"context"

	"weir/internal/pulse"

	"github.com/panjf2000/gnet/v2"
)

// Alive asks each event loop for an answer. The error says how many have given none when ctx ends; nil if the loops have stopped,
// or have not begun.
func (s *Server) Alive(ctx context.Context) error {
	loops := s.allLoops()
	asks := make([]pulse.Ask, len(loops))
	for i, l := range loops {
		asks[i] = l.ask
	}
	return pulse.Alive(ctx, asks, s.stopped)
}

// ask has f called on the loop. Any goroutine.
func (l *loop) ask(f func()) error {
	return l.el.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
		f()
		return nil
	}))
}
