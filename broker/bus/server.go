package bus

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/broker"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	startTimeout = 10 * time.Second
	// maxInFlight bounds the publishes that wait for their acknowledgment.
	maxInFlight = 4096
	// clientPendingBytes bounds what the server queues for one client before it cuts it off.
	clientPendingBytes = 64 << 20
	clientDeadline     = 2 * time.Second
)

// Bus is a running bus. Its methods may be called from any goroutine.
type Bus struct {
	cfg    Config
	log    *slog.Logger
	srv    atomic.Pointer[server.Server] // nil if the bus is another process's, or suspended
	client *client                       // publishes, and makes streams
	secret string                        // of the clients with all rights
	failed chan error
	making [broker.Shards]sync.Mutex  // of streams
	used   [broker.Shards]atomic.Bool // shards opened by any client
	ingest *ingest
	counts counts

	mu      sync.Mutex
	clients []*client // all of the process

	scratch string   // a directory to remove at the end
	lock    *os.File // of Dir

	closeOnce sync.Once
}

// Open starts a bus, or with Config.Servers joins another process's. It returns when the bus can be
// published to, or with an error that says what to do; a bus to be joined may answer later.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Bus, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure bus: %w", err)
	}
	b := &Bus{cfg: cfg.Defaults(), log: log, secret: cfg.Secret, failed: make(chan error, 1)}
	if b.secret == "" {
		b.secret = rand.Text()
	}
	b.counts.init()
	start := b.start
	if cfg.remote() {
		start = b.join
	}
	if err := start(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Bus) start(ctx context.Context) (err error) {
	if err := b.startServer(); err != nil {
		return err
	}
	if b.client, err = b.dial("weir", nil); err != nil {
		return err
	}
	if err := b.adopt(ctx); err != nil {
		return err
	}
	if b.ingest, err = b.startIngest(); err != nil {
		return err
	}
	return nil
}

func (b *Bus) startServer() error {
	dir, err := b.takeDir()
	if err != nil {
		return err
	}
	opts, err := b.options(dir)
	if err != nil {
		return err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("start bus: %w", err)
	}
	srv.SetLoggerV2(&serverLog{log: b.log, failed: b.failed}, false, false, false)
	b.srv.Store(srv)
	srv.Start()
	if !srv.ReadyForConnections(startTimeout) {
		select {
		case err = <-b.failed:
		default:
			err = fmt.Errorf("start bus: not ready after %v: look for its log lines above", startTimeout)
		}
		return err
	}
	return nil
}

// stopServer ends the server, and gives up the directory.
func (b *Bus) stopServer() {
	if b.ingest != nil {
		b.ingest.stop()
		b.ingest = nil
	}
	if srv := b.srv.Swap(nil); srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
	if b.lock != nil {
		_ = b.lock.Close() // gives up the lock
		b.lock = nil
	}
}

// takeDir is the server's directory: ours by a lock, or a scratch one for memory.
func (b *Bus) takeDir() (string, error) {
	if b.cfg.Storage == Memory {
		return b.takeScratch()
	}
	if err := os.MkdirAll(b.cfg.Dir, 0o700); err != nil {
		return "", fmt.Errorf("make bus.data %s: %w", b.cfg.Dir, err)
	}
	lock, err := lockFile(filepath.Join(b.cfg.Dir, lockName))
	if err != nil {
		return "", fmt.Errorf("lock bus.data %s: another weir uses it: stop that one or set bus.data to another directory: %w", b.cfg.Dir, err)
	}
	b.lock = lock
	return b.cfg.Dir, nil
}

// lockName is the file in a bus's directory that is locked while the bus runs.
const lockName = "weir.lock"

// takeScratch makes a directory for the server's own files, which go with the process. Those of
// processes that were killed are removed: nobody holds their locks.
func (b *Bus) takeScratch() (dir string, err error) {
	const name = "weir-bus-"
	left, err := filepath.Glob(filepath.Join(os.TempDir(), name+"*", lockName))
	if err != nil {
		return "", fmt.Errorf("look for scratch directories: %w", err)
	}
	for _, path := range left {
		if lock, err := lockFile(path); err == nil {
			_ = os.RemoveAll(filepath.Dir(path)) // what cannot be removed is left
			_ = lock.Close()
		}
	}
	if dir, err = os.MkdirTemp("", name); err != nil {
		return "", fmt.Errorf("make the bus's scratch directory: %w", err)
	}
	b.scratch = dir
	if b.lock, err = lockFile(filepath.Join(dir, lockName)); err != nil {
		return "", fmt.Errorf("lock the bus's scratch directory: %w", err)
	}
	return dir, nil
}

func (b *Bus) options(dir string) (*server.Options, error) {
	own := &server.User{Username: busUser, Password: b.secret}
	guest := &server.User{Username: "guest", Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{publishPrefix + ">"}},
		Subscribe: &server.SubjectPermission{Allow: []string{livePrefix + ">", "_INBOX.>"}},
	}}
	opts := &server.Options{
		ServerName:          "weir",
		DontListen:          b.cfg.Listen == "",
		NoSigs:              true,
		JetStream:           true,
		StoreDir:            dir,
		JetStreamMaxMemory:  b.cfg.MaxBytes,
		JetStreamMaxStore:   b.cfg.MaxBytes,
		SyncAlways:          b.cfg.Sync == SyncAlways,
		SyncInterval:        b.cfg.SyncInterval,
		MaxPayload:          int32(b.cfg.MaxEventBytes + eventOverheadBytes), //nolint:gosec // Validate bounds it at 8 MiB
		MaxPending:          clientPendingBytes,
		WriteDeadline:       clientDeadline,
		NoFastProducerStall: true,
		Users:               []*server.User{own, guest},
		NoAuthUser:          guest.Username,
	}
	if b.cfg.NoGuests {
		opts.Users, opts.NoAuthUser = []*server.User{own}, ""
	}
	if b.cfg.Listen == "" {
		return opts, nil
	}
	host, port, err := net.SplitHostPort(b.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("read bus.listen %s: %w", b.cfg.Listen, err)
	}
	if opts.Port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("read bus.listen %s: the port is not a number: %w", b.cfg.Listen, err)
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	opts.Host = host
	// The server reports a busy port by Fatalf alone: find out first.
	ln, err := net.Listen("tcp", b.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for NATS clients on %s: free the port (ss -ltnp) or set bus.listen to another: %w", b.cfg.Listen, err)
	}
	return opts, ln.Close()
}

// Failed gives the error that ended the bus from within, if that happens.
func (b *Bus) Failed() <-chan error { return b.failed }

// ListenAddr is where NATS clients connect, nil without a listener.
func (b *Bus) ListenAddr() net.Addr {
	srv := b.srv.Load()
	if srv == nil || b.cfg.Listen == "" {
		return nil
	}
	return srv.Addr()
}

// Config is the effective configuration.
func (b *Bus) Config() Config { return b.cfg }

// Close ends the bus and joins its goroutines. Idempotent.
func (b *Bus) Close() {
	b.closeOnce.Do(func() {
		if b.ingest != nil {
			b.ingest.stop()
			b.ingest = nil
		}
		if b.client != nil {
			b.client.close()
		}
		if b.scratch != "" {
			defer func() {
				if err := os.RemoveAll(b.scratch); err != nil {
					b.log.Warn("scratch directory not removed", "dir", b.scratch, "err", err)
				}
			}()
		}
		b.stopServer()
	})
}

// serverLog hands the server's log to ours.
type serverLog struct {
	log    *slog.Logger
	failed chan error
}

func (l *serverLog) Noticef(format string, v ...any) {
	l.log.Debug("bus", "text", fmt.Sprintf(format, v...))
}

func (l *serverLog) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Plaintext passwords") {
		return // it is made anew in each process, or the operator keeps it
	}
	l.log.Warn("bus", "text", fmt.Sprintf(format, v...))
}

func (l *serverLog) Errorf(format string, v ...any) {
	l.log.Error("bus", "text", fmt.Sprintf(format, v...))
}
func (l *serverLog) Debugf(string, ...any) {}
func (l *serverLog) Tracef(string, ...any) {}

// Fatalf must not end the process: the error goes to whoever waits for the bus.
func (l *serverLog) Fatalf(format string, v ...any) {
	select {
	case l.failed <- fmt.Errorf(format, v...):
	default: // the first one stands
	}
}
