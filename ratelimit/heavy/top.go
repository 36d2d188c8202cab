package heavy

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"
)

// By is what clients are ranked by.
type By uint8

// The ranks.
const (
	ByRequests By = iota
	ByLimited     // requests over a quota
	ByBytes       // of bodies, both ways
	ByUpstream    // time that upstreams took for them, nanoseconds
	ranks
)

var rankNames = [ranks]string{"requests", "limited", "bytes", "seconds"}

// String is the name that ParseBy reads.
func (b By) String() string {
	if b < ranks {
		return rankNames[b]
	}
	return fmt.Sprintf("unknown (%d)", b)
}

// ErrUnknownRank says that there is no rank of a name.
var ErrUnknownRank = errors.New("unknown rank")

// ParseBy reads requests, limited, bytes or seconds.
func ParseBy(text string) (By, error) {
	for i, name := range rankNames {
		if text == name {
			return By(i), nil //nolint:gosec // there are few
		}
	}
	return 0, fmt.Errorf("%w %q: want %s", ErrUnknownRank, text, strings.Join(rankNames[:], ", "))
}

const (
	// shards is how many parts the clients are in: two requests at once seldom meet.
	shards = 16
	// MaxNameBytes bounds what is kept of a client's name: longer ones are cut.
	MaxNameBytes = 256
	// maxClients bounds Config.Clients.
	maxClients = 1 << 20
)

// Config configures a [Top]. The zero value is valid.
type Config struct {
	// Clients is how many have a slot in each rank. 16 to 1,048,576, default 4096. A slot takes about 120 bytes, the name apart, and there are
	// four ranks and two windows of them, taken as clients come.
	Clients int
	// Window is how far back is looked, at least: it is forgotten what is older than two. 1 s to 24 h, default 5 min.
	Window time.Duration
}

func (c Config) withDefaults() Config {
	if c.Clients == 0 {
		c.Clients = 4096
	}
	if c.Window == 0 {
		c.Window = 5 * time.Minute
	}
	return c
}

// Validate reports every field that is out of range, joined; nil if all are fine.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Clients < shards || c.Clients > maxClients {
		errs = append(errs, fmt.Errorf("heavy.clients is %d: want %d to %d", c.Clients, shards, maxClients))
	}
	if c.Window < time.Second || c.Window > 24*time.Hour {
		errs = append(errs, fmt.Errorf("heavy.window is %v: want 1s to 24h", c.Window))
	}
	return errors.Join(errs...)
}

// Use is what requests have cost.
type Use struct {
	// Requests is how many they are, 0 for one; Limited how many of them were over a quota.
	Requests, Limited uint64
	Bytes             uint64
	Upstream          time.Duration
}

// counts are those of a client by rank.
type counts [ranks]uint64

// Top ranks clients by what they cost. Its methods may be called from any goroutine.
type Top struct {
	begun  time.Time
	window time.Duration
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu sync.Mutex
	// ranks are those of the window that runs, then of the one before.
	ranks [2][ranks]*Sketch[counts]
	total [2]counts
	// window is the number of the one that runs, from 0.
	window int64
	_      [64]byte // keeps shards on cache lines of their own
}

// New returns a Top whose first window begins at now.
func New(cfg Config, now time.Time) (*Top, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	t := &Top{begun: now, window: cfg.Window, seed: maphash.MakeSeed()}
	for i := range t.shards {
		sh := &t.shards[i]
		for w := range sh.ranks {
			for by := range sh.ranks[w] {
				sh.ranks[w][by] = NewSketch[counts]((cfg.Clients + shards - 1) / shards)
			}
		}
	}
	return t, nil
}

// Add counts requests of a client, the last of which ended at now. The name is lent. It allocates nothing for a client that has its slots,
// and waits only for others of the same shard.
func (t *Top) Add(now time.Time, name []byte, u Use) {
	if len(name) > MaxNameBytes {
		name = name[:MaxNameBytes]
	}
	c := counts{max(u.Requests, 1), u.Limited, u.Bytes, uint64(max(u.Upstream, 0))} //nolint:gosec // not below 0
	sh := &t.shards[maphash.Bytes(t.seed, name)%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.turn(t.at(now))
	for by, weight := range c {
		sh.total[0][by] += weight
		// A client without a weight in a rank is not put there, but what it costs besides is noted if it is.
		var slot *Slot[counts]
		if weight > 0 {
			slot = sh.ranks[0][by].Add(name, weight)
		} else if i, ok := sh.ranks[0][by].index[string(name)]; ok {
			slot = &sh.ranks[0][by].slots[i]
		}
		if slot != nil {
			for other, n := range c {
				slot.Data[other] += n
			}
		}
	}
}

// at is the number of the window of a time.
func (t *Top) at(now time.Time) int64 { return int64(now.Sub(t.begun) / t.window) }

// turn goes on to another window, unless it is past: what comes late counts in the one that runs. sh.mu is held.
func (sh *shard) turn(window int64) {
	if window <= sh.window {
		return
	}
	next := window == sh.window+1
	sh.window = window
	sh.ranks[0], sh.ranks[1] = sh.ranks[1], sh.ranks[0]
	sh.total[0], sh.total[1] = counts{}, sh.total[0]
	for _, s := range sh.ranks[0] {
		s.Reset()
	}
	if !next { // nothing came for so long
		sh.total[1] = counts{}
		for _, s := range sh.ranks[1] {
			s.Reset()
		}
	}
}

// Client is a client in a rank.
type Client struct {
	Name string
	// Count is what it cost, by the rank: nanoseconds of [ByUpstream]. It is too high by Over at most, and never too low.
	Count, Over uint64
	// Requests, Limited, Bytes and Upstream are what is known of it besides, never too high: what came while it had a slot.
	Requests, Limited, Bytes uint64
	Upstream                 time.Duration
}

// Ranking is the heaviest clients by one rank.
type Ranking struct {
	// Clients are sorted, the heaviest first.
	Clients []Client
	// Total is what all clients cost, exactly. A client that is not in the ranking's slots cost Bound at most; no count is wrong by
	// more.
	Total, Bound uint64
	// From is since when it is counted.
	From time.Time
}

// Top is the n heaviest clients by a rank, of the last one to two windows before now.
func (t *Top) Top(now time.Time, by By, n int) Ranking {
	window := max(t.at(now), 0)
	out := Ranking{From: t.begun.Add(time.Duration(max(window-1, 0)) * t.window)}
	if by >= ranks {
		return out
	}
	for i := range t.shards {
		t.shards[i].rank(window, by, &out)
	}
	slices.SortFunc(out.Clients, func(a, b Client) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name))
	})
	out.Clients = slices.Clip(out.Clients[:min(len(out.Clients), max(n, 0))])
	return out
}

// rank adds the clients of a shard: of a client in one window alone the other may have counted as much as its least.
func (sh *shard) rank(window int64, by By, out *Ranking) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.turn(window)
	bound := uint64(0)
	for w := range sh.ranks {
		bound += sh.ranks[w][by].Least()
		out.Total += sh.total[w][by]
	}
	out.Bound = max(out.Bound, bound)
	for w, s := range sh.ranks {
		other := sh.ranks[1-w][by]
		for i := range s[by].slots {
			slot := &s[by].slots[i]
			c := Client{Name: slot.Name, Count: slot.Count, Over: slot.Over}
			data := slot.Data
			switch twin := other.Find(slot.Name); {
			case twin != nil && w == 1:
				continue // it was added with the window that runs
			case twin != nil:
				c.Count, c.Over = c.Count+twin.Count, c.Over+twin.Over
				for i, n := range twin.Data {
					data[i] += n
				}
			default:
				c.Count, c.Over = c.Count+other.Least(), c.Over+other.Least()
			}
			c.Requests, c.Limited, c.Bytes, c.Upstream = data[ByRequests], data[ByLimited], data[ByBytes], time.Duration(data[ByUpstream]) //nolint:gosec // it was a Duration
			out.Clients = append(out.Clients, c)
		}
	}
}
