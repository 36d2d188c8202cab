package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"weir/broker"

	"github.com/nats-io/nats.go"
)

// busUser is who has all rights on a bus: its own process, and whoever has its secret.
const busUser = "weir"

const secretRefused = "it does not take this bus.secret: set the same on the broker and on its edges (a broker without one lets in guests alone)"

// ErrSecret says that the broker does not take Config.Secret.
var ErrSecret = errors.New("bus secret refused")

// remote reports whether the bus is another process's.
func (c Config) remote() bool { return len(c.Servers) > 0 }

// validServer reports whether s is nats://host:port.
func validServer(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "nats" || u.User != nil || u.Path != "" || u.RawQuery != "" {
		return false
	}
	host, port, err := net.SplitHostPort(u.Host)
	return err == nil && host != "" && port != ""
}

func (b *Bus) urls() string { return strings.Join(b.cfg.Servers, ",") }

// where names the bus in logs and errors.
func (b *Bus) where() string {
	if b.cfg.remote() {
		return b.urls()
	}
	return "this process"
}

// join connects to a remote bus. One that does not answer may come later; one that does not take
// the secret is an error.
func (b *Bus) join(ctx context.Context) (err error) {
	if err := Probe(ctx, b.cfg); errors.Is(err, ErrSecret) {
		return err
	} else if err != nil {
		b.log.Warn("no broker answers yet: what it is needed for is refused until it does", "bus", b.where(), "err", err)
	}
	b.client, err = b.dial("weir", nil)
	return err
}

// Probe connects once to a remote bus with the rights of an edge. The error says what is wrong; it
// wraps ErrSecret or broker.ErrUnavailable.
func Probe(ctx context.Context, cfg Config) error {
	where := strings.Join(cfg.Servers, ",")
	nc, err := nats.Connect(where, nats.Name("weir-probe"), nats.UserInfo(busUser, cfg.Secret), nats.Timeout(dialTimeout), nats.NoReconnect())
	if errors.Is(err, nats.ErrAuthorization) {
		return fmt.Errorf("connect to the broker at %s: %w: %s", where, ErrSecret, secretRefused)
	}
	if err != nil {
		return fmt.Errorf("connect to the broker at %s: %w: %w", where, broker.ErrUnavailable, err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := nc.RequestWithContext(ctx, "$JS.API.INFO", nil); err != nil {
		return fmt.Errorf("ask the broker at %s for its streams: %w: %w", where, broker.ErrUnavailable, err)
	}
	return nil
}

// Up is nil if the bus can be reached, else says why not; the error wraps broker.ErrUnavailable.
func (b *Bus) Up() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.clients {
		if _, err := c.up(); err != nil {
			return err
		}
	}
	return nil
}

// Remote reports whether the bus is another process's.
func (b *Bus) Remote() bool { return b.cfg.remote() }
