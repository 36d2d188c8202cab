package workers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"syscall"
	"time"

	"weir/edge/handover"
)

// process is a worker that runs.
type process struct {
	number   int
	pid      int
	peer     *handover.Peer
	maxConns int

	mu     sync.Mutex // of what follows, and of sending
	lastID uint64
	asked  map[uint64]chan Answer
	closed bool
}

var (
	errBusy  = errors.New("it has not answered for long")
	errEnded = errors.New("it has ended")
)

// runWorker is the life of one process. The error says how it ended, unless it was told to and did.
func (g *Group) runWorker(ctx context.Context, i int) error {
	config, err := g.opts.Config()
	if err != nil {
		return err
	}
	peer, theirs, err := handover.Pair()
	if err != nil {
		return err
	}
	defer peer.Close() //nolint:errcheck // the process is gone
	cmd := g.opts.Command()
	cmd.ExtraFiles = []*os.File{theirs}
	cpus := share(g.cpus, i, g.opts.Workers)
	err, pinErr := g.spawner.start(cmd, cpus)
	_ = theirs.Close()
	if err != nil {
		return fmt.Errorf("start a worker: %w", err)
	}
	if pinErr != nil {
		g.log.Info("a worker runs on any CPU", "worker", i, "err", pinErr)
	}
	p := &process{number: i, pid: cmd.Process.Pid, peer: peer, asked: map[uint64]chan Answer{}}
	kill := func() { _ = cmd.Process.Kill() } // one that is gone is what is wanted
	tooLate := time.AfterFunc(startTimeout, kill)
	defer tooLate.Stop()
	stopTimer := time.AfterFunc(math.MaxInt64, kill)
	defer stopTimer.Stop()
	defer context.AfterFunc(ctx, func() {
		stopTimer.Reset(g.opts.StopTimeout)
		if p.send(msgStop, nil) != nil {
			kill()
		}
	})()
	task := Task{Worker: i, Address: g.addr.Load().String(), Pinned: len(cpus) > 0 && pinErr == nil, Config: config}
	if at := g.tlsAddr.Load(); at != nil {
		task.TLSAddress = at.String()
	}
	if err = p.send(msgTask, task); err == nil {
		err = g.listen(p, func() { tooLate.Stop() })
	}
	stopTimer.Reset(g.opts.StopTimeout)
	p.end()
	if err != nil { // what cannot be spoken with cannot be told to end
		kill()
	}
	waitErr := cmd.Wait()
	g.gone(i)
	if waitErr == nil && ctx.Err() == nil {
		return errors.New("it was told to end by somebody else")
	}
	return errors.Join(waitErr, err)
}

// listen takes what a worker says until it closes its end.
func (g *Group) listen(p *process, serves func()) error {
	for {
		m, err := p.peer.Receive()
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
				return nil
			}
			return err
		}
		switch m.Kind {
		case msgServes:
			var s Serves
			if err = m.Decode(&s); err == nil {
				serves()
				p.maxConns = s.MaxConns
				g.place(p.number, m.Descriptors)
				g.serves(p)
			}
		case msgAnswer:
			var a Answer
			if err = m.Decode(&a); err == nil {
				p.answered(a)
			}
		}
		m.Close()
		if err != nil {
			return err
		}
	}
}

// place hands listeners on.
func (g *Group) place(worker int, listeners []int) {
	if g.opts.Listeners == nil {
		return
	}
	all, width := places(g.cpus, worker, g.opts.Workers, listeners)
	g.opts.Listeners(worker, all, width)
}

func (p *process) send(k handover.Kind, v any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peer.Send(k, v)
}

// ask waits for an answer.
func (p *process) ask(ctx context.Context, q Question) (Answer, error) {
	answer := make(chan Answer, 1)
	if err := p.put(&q, answer); err != nil {
		return Answer{}, err
	}
	select {
	case a, ok := <-answer:
		if !ok {
			return a, errEnded
		}
		return a, nil
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
}

// put sends a question. No more than maxAsked wait in the socket, which holds them: it does not block.
func (p *process) put(q *Question, answer chan Answer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errEnded
	}
	if len(p.asked) >= maxAsked {
		return errBusy
	}
	p.lastID++
	q.ID = p.lastID
	if err := p.peer.Send(msgAsk, q); err != nil {
		return err
	}
	p.asked[q.ID] = answer
	return nil
}

func (p *process) answered(a Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if answer, ok := p.asked[a.ID]; ok {
		delete(p.asked, a.ID)
		answer <- a
	}
}

// end tells all that wait for an answer that none comes.
func (p *process) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for id, answer := range p.asked {
		delete(p.asked, id)
		close(answer)
	}
}
