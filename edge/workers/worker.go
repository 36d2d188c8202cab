package workers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"weir/edge/handover"
)

// workerFD is the descriptor of the socket that a worker inherits.
const workerFD = 3

// Worker is a worker's end. Its methods may be called from any goroutine.
type Worker struct {
	peer   *handover.Peer
	sendMu sync.Mutex
}

// Join is called by a process that a [Group] has started. It returns what that one is to do.
func Join() (*Worker, Task, error) {
	var task Task
	peer, err := handover.Inherited(workerFD)
	if err != nil {
		return nil, task, fmt.Errorf("join the weir that started this worker: %w", err)
	}
	m, err := peer.Receive()
	if err == nil && m.Kind != msgTask {
		err = fmt.Errorf("message %d instead of a task", m.Kind)
	}
	if err == nil {
		err = m.Decode(&task)
	}
	if err != nil {
		_ = peer.Close()
		return nil, task, fmt.Errorf("join the weir that started this worker: %w", err)
	}
	return &Worker{peer: peer}, task, nil
}

// Serves tells the group that it serves, and gives it its listeners, which stay its own.
func (w *Worker) Serves(s Serves, listeners []int) error {
	return w.send(msgServes, s, listeners...)
}

// Run answers the group's questions until ctx ends, or the group is gone, which is an error. It calls stop
// when the worker is to end. Several answers may be made at once; they are not waited for at the end.
func (w *Worker) Run(ctx context.Context, stop func(), answer func(context.Context, Question) Answer) error {
	defer context.AfterFunc(ctx, func() { _ = w.peer.Close() })()
	for {
		m, err := w.peer.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("the weir that started this worker is gone")
		case err != nil:
			return err
		}
		switch m.Kind {
		case msgStop:
			stop()
		case msgAsk:
			var q Question
			if err := m.Decode(&q); err != nil {
				return err
			}
			go func() { // the group asks maxAsked at once
				a := answer(ctx, q)
				a.ID = q.ID
				_ = w.send(msgAnswer, a) // a group that is gone is noticed above
			}()
		}
		m.Close()
	}
}

func (w *Worker) send(k handover.Kind, v any, fds ...int) error {
	w.sendMu.Lock()
	defer w.sendMu.Unlock()
	return w.peer.Send(k, v, fds...)
}
