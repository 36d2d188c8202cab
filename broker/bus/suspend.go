package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weir/broker"
)

// ErrInMemory says that events which are kept in memory cannot go to another process.
var ErrInMemory = errors.New("events are kept in memory, and go with the process: keep them in a directory (bus.data, --data), or run weir broker and weir edge apart")

var errSuspended = errors.New("the bus is with another process")

// resumePoll is how often it is looked whether all clients are connected again.
const resumePoll = 5 * time.Millisecond

// Suspend gives up the directory and the listener of an embedded bus whose events are in a directory, for
// another process to open. Calls fail with broker.ErrUnavailable until Resume. The error wraps
// [ErrInMemory] if there is no such directory; then nothing has changed. A remote bus has nothing to
// give up. Suspend, Resume and Close are called by one goroutine at a time.
func (b *Bus) Suspend() error {
	if b.cfg.remote() {
		return nil
	}
	if b.cfg.Storage == Memory {
		return fmt.Errorf("suspend the bus: %w", ErrInMemory)
	}
	b.stopServer()
	return nil
}

// Running reports whether the bus is not suspended.
func (b *Bus) Running() bool { return b.cfg.remote() || b.srv.Load() != nil }

// Resume undoes Suspend: it returns when the bus can be published to again, and its links are
// connected.
func (b *Bus) Resume(ctx context.Context) error {
	if b.cfg.remote() {
		return nil
	}
	if err := b.startServer(); err != nil {
		b.stopServer()
		return fmt.Errorf("resume the bus: %w", err)
	}
	b.mu.Lock()
	for _, c := range b.clients {
		_ = c.nc.ForceReconnect() // it would try in a while
	}
	b.mu.Unlock()
	t := time.NewTicker(resumePoll)
	defer t.Stop()
	for b.Up() != nil {
		select {
		case <-ctx.Done():
			return fmt.Errorf("resume the bus: %w: %w", broker.ErrUnavailable, ctx.Err())
		case <-t.C:
		}
	}
	if err := b.adopt(ctx); err != nil {
		return fmt.Errorf("resume the bus: %w", err)
	}
	var err error
	b.ingest, err = b.startIngest()
	return err
}
