package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

var errClosed = errors.New("the store was closed")

// option is how to reach the server.
func option(cfg Config) rueidis.ClientOption {
	return rueidis.ClientOption{
		InitAddress: cfg.Addresses, Username: cfg.Username, Password: cfg.Password,
		Sentinel:          rueidis.SentinelOption{MasterSet: cfg.Sentinel},
		ForceSingleClient: cfg.Sentinel == "",
		DisableCache:      true,
		DisableRetry:      true, // what was charged is not to be charged again
		ConnWriteTimeout:  max(10*cfg.Timeout, time.Second),
		// Longer than a request waits: the next one is to find a connection.
		Dialer: net.Dialer{Timeout: max(10*cfg.Timeout, time.Second), KeepAlive: time.Second},
	}
}

// link is the connection to the server, once there is one: the library makes it anew when it breaks, but not the
// first. Its methods may be called from any goroutine.
type link struct {
	option rueidis.ClientOption

	mu     sync.Mutex
	client rueidis.Client
	trying *try
	closed bool
	wait   sync.WaitGroup
}

// try is one to connect for the first time, for all who ask meanwhile.
type try struct {
	done chan struct{}
	err  error
}

// get is the client. It waits for the connection as long as ctx allows.
func (l *link) get(ctx context.Context) (rueidis.Client, error) {
	l.mu.Lock()
	if l.client != nil || l.closed {
		defer l.mu.Unlock()
		if l.closed {
			return nil, errClosed
		}
		return l.client, nil
	}
	t := l.trying
	if t == nil {
		t = &try{done: make(chan struct{})}
		l.trying = t
		l.wait.Go(func() { l.connect(t) })
	}
	l.mu.Unlock()
	select {
	case <-t.done:
		if t.err != nil {
			return nil, fmt.Errorf("%w: %w", errNoLink, t.err)
		}
		return l.get(ctx)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errNoLink, ctx.Err())
	}
}

// made reports whether there was a connection, and it was not closed here.
func (l *link) made() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client != nil
}

func (l *link) connect(t *try) {
	client, err := rueidis.NewClient(l.option)
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(t.done)
	l.trying, t.err = nil, err
	switch {
	case err != nil:
	case l.closed:
		client.Close()
		t.err = errClosed
	default:
		l.client = client
	}
}

func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	if l.client != nil {
		l.client.Close()
		l.client = nil
	}
	l.mu.Unlock()
	l.wait.Wait()
}
