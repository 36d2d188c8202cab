package bus

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"weir/broker"
)

// Storage is where events are kept.
type Storage string

// The kinds of storage.
const (
	// Memory keeps events until the process ends.
	Memory Storage = "memory"
	// File keeps them in Config.Dir, across restarts.
	File Storage = "file"
)

// Sync is when stored events are forced to disk.
type Sync string

// The ways to sync.
const (
	// SyncInterval syncs every Config.SyncInterval: a process that dies loses nothing, a host
	// that loses power loses what was published since the last sync, though acknowledged.
	SyncInterval Sync = "interval"
	// SyncAlways syncs before each acknowledgment.
	SyncAlways Sync = "always"
)

// Config configures a [Bus]. The zero value is valid: in memory, no listener.
type Config struct {
	// Dir is where events are kept; needed for File, unused for Memory.
	Dir string
	// Storage is Memory or File. Default File if Dir is set, else Memory.
	Storage Storage
	// Sync is SyncInterval or SyncAlways. Default SyncInterval.
	Sync Sync
	// SyncInterval is 100 ms to 10 min, default 2 s.
	SyncInterval time.Duration
	// MaxBytes bounds what is stored over all shards; each shard has an equal part, and drops
	// its oldest events at it. Bytes, 16 MiB to 1 TiB, default 1 GiB.
	MaxBytes int64
	// HistoryEvents bounds the events kept of a topic. 1 to 1,000,000, default 1024.
	HistoryEvents int64
	// HistoryAge is how long an event is kept. 1 s to 1 year, default 10 min.
	HistoryAge time.Duration
	// MaxEventBytes bounds a payload. Bytes, 1 to 8 MiB, default 64 KiB.
	MaxEventBytes int
	// Listen is a TCP address, host:port, where NATS clients may publish and read live
	// events, and who has Secret may all. Empty: none.
	Listen string
	// NoGuests lets in at Listen who has Secret alone.
	NoGuests bool
	// Secret is what edges in other processes show for the rights that guests do not have. 16 to
	// 256 printable ASCII characters; empty: none are let in.
	Secret string
	// Servers are the addresses of another process's bus, nats://host:port, which is used instead
	// of one of this process; then all above but MaxEventBytes and Secret is that one's. At most 16.
	Servers []string
}

// FieldError says which field of a Config is out of range, and what would be right.
type FieldError struct {
	Field string
	Value any
	Want  string
}

// Error is "Field is Value: want Want".
func (e *FieldError) Error() string {
	return fmt.Sprintf("bus.%s is %v: want %s", e.Field, e.Value, e.Want)
}

// Defaults is c with every zero field at its default.
func (c Config) Defaults() Config {
	if c.Storage == "" {
		c.Storage = Memory
		if c.Dir != "" {
			c.Storage = File
		}
	}
	if c.Sync == "" {
		c.Sync = SyncInterval
	}
	if c.SyncInterval == 0 {
		c.SyncInterval = 2 * time.Second
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	if c.HistoryEvents == 0 {
		c.HistoryEvents = 1024
	}
	if c.HistoryAge == 0 {
		c.HistoryAge = 10 * time.Minute
	}
	if c.MaxEventBytes == 0 {
		c.MaxEventBytes = 64 << 10
	}
	return c
}

// Validate reports every field that is out of range, joined; nil if all are fine.
func (c Config) Validate() error {
	c = c.Defaults()
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, &FieldError{field, value, want})
	}
	if c.Storage != Memory && c.Storage != File {
		bad("Storage", c.Storage, "memory or file")
	}
	if c.Storage == File && c.Dir == "" {
		bad("Dir", `""`, "a directory, since storage is file")
	}
	if c.Sync != SyncInterval && c.Sync != SyncAlways {
		bad("Sync", c.Sync, "interval or always")
	}
	if c.SyncInterval < 100*time.Millisecond || c.SyncInterval > 10*time.Minute {
		bad("SyncInterval", c.SyncInterval, "100ms to 10m")
	}
	if c.MaxBytes < 16<<20 || c.MaxBytes > 1<<40 {
		bad("MaxBytes", c.MaxBytes, "16 MiB to 1 TiB")
	}
	if c.HistoryEvents < 1 || c.HistoryEvents > 1_000_000 {
		bad("HistoryEvents", c.HistoryEvents, "1 to 1000000")
	}
	if c.HistoryAge < time.Second || c.HistoryAge > 365*24*time.Hour {
		bad("HistoryAge", c.HistoryAge, "1s to 8760h")
	}
	if c.MaxEventBytes < 1 || c.MaxEventBytes > 8<<20 {
		bad("MaxEventBytes", c.MaxEventBytes, "1 to 8388608")
	}
	if per := c.MaxBytes / broker.Shards; c.MaxEventBytes >= 1 && per < int64(c.MaxEventBytes)+eventOverheadBytes {
		bad("MaxBytes", c.MaxBytes, fmt.Sprintf("at least %d, so that each of %d shards holds an event of MaxEventBytes", broker.Shards*(int64(c.MaxEventBytes)+eventOverheadBytes), broker.Shards))
	}
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			bad("Listen", c.Listen, "host:port")
		}
	}
	if n := len(c.Secret); n > 0 && (n < 16 || n > 256 || !validKey(c.Secret[:min(n, MaxKeyBytes)]) || strings.HasPrefix(c.Secret, "$2")) {
		bad("Secret", "not fit", "16 to 256 printable ASCII characters, such as openssl rand -hex 24 prints")
	}
	for _, s := range c.Servers {
		if !validServer(s) {
			bad("Servers", strconv.Quote(s), "nats://host:port, the secret apart in bus.secret")
		}
	}
	if len(c.Servers) > maxServers {
		bad("Servers", len(c.Servers), fmt.Sprintf("at most %d", maxServers))
	}
	return errors.Join(errs...)
}

const maxServers = 16

// eventOverheadBytes is what a stored event takes beside its payload: subject, headers,
// record. Rounded up.
const eventOverheadBytes = 1024
