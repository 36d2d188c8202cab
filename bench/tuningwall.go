package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"weir/edge/loop"
	"weir/tuning"
)

// What a wall is run into by.
const (
	// wallConns begin at once, or what the limit of open files allows.
	wallConns = 8000
	// wallStall is how long the edge stands once all have begun: less than a lost SYN waits to be sent again
	// (RFC 6298, 1 s).
	wallStall = 300 * time.Millisecond
	// wallPatience is how long conns are waited for: more than a SYN takes that is lost again and again, at a busy
	// receiver (1, 1, 1, 1, 2, 4, 8 s, tcp_syn_linear_timeouts) or in the sender's own backlog (11 times in 6 s).
	wallPatience = 30 * time.Second
)

// WallTurn is a burst of conns to an edge that stands.
type WallTurn struct {
	// Somaxconn is what the edge's network had.
	Somaxconn string `json:"somaxconn"`
	// StallSeconds is how long the edge stood, from the first SYN.
	StallSeconds float64 `json:"stall_seconds"`
	// Waiting are the conns that the kernel had completed for their clients when the edge went on.
	Waiting int `json:"connected_while_stalled"`
	// Failed are those that the kernel gave up. A SYN that the host itself has no room for, past
	// net.core.netdev_max_backlog, is sent again each half second, 10 times, and then it is ETIMEDOUT
	// (net/ipv4/tcp_timer.c, TCP_RESOURCE_PROBE_INTERVAL).
	Failed int `json:"failed"`
	// Overflows are the times that the queue was full, Drops those that something of a handshake was dropped
	// (ListenOverflows, ListenDrops).
	Overflows uint64 `json:"listen_overflows"`
	Drops     uint64 `json:"listen_drops"`
	// LastSeconds is when the last of the conns that did not fail was there, from the first SYN.
	LastSeconds float64 `json:"last_connected_seconds"`
}

// TuningWall is what the length of the accept queue does for conns that come while the loop does not accept.
type TuningWall struct {
	Setting string   `json:"setting"`
	Conns   int      `json:"conns"`
	Off     WallTurn `json:"off"`
	On      WallTurn `json:"on"`
	// Moved says that what overflowed without the setting did not with it.
	Moved bool `json:"moved"`
}

// backlogBurst is a burst of conns to a process that stands, and what became of it.
type backlogBurst struct {
	conns   int
	waiting int           // connected when it went on
	stood   time.Duration // until then
	failed  int           // that the kernel gave up
	last    time.Duration // when all others were there
}

// wall measures the accept queue with and without its setting; nil if that is as it should be.
func (r *tuningRun) wall(ctx context.Context) (*TuningWall, error) {
	if !slices.ContainsFunc(r.plan.Of(tuning.Change), func(i tuning.Item) bool { return i.Setting == tuningBacklog }) {
		return nil, nil
	}
	w := &TuningWall{Setting: tuningBacklog, Conns: min(wallConns, loop.DescriptorLimit()-spareDescriptors)}
	for _, turn := range []struct {
		settings []string
		to       *WallTurn
	}{{nil, &w.Off}, {[]string{w.Setting}, &w.On}} {
		if err := r.wallTurn(ctx, turn.settings, w.Conns, turn.to); err != nil {
			return nil, err
		}
		fmt.Fprintf(r.progress, "%-9s %-3s somaxconn %s: %d of %d conns while the edge stood, %d overflows, %d failed, all others after %.2f s\n",
			"backlog", onOff(turn.settings != nil), turn.to.Somaxconn, turn.to.Waiting, w.Conns, turn.to.Overflows, turn.to.Failed, turn.to.LastSeconds)
	}
	w.Moved = w.Off.Overflows > 0 && w.On.Overflows == 0
	return w, nil
}

func (r *tuningRun) wallTurn(ctx context.Context, settings []string, conns int, to *WallTurn) error {
	ctx, cancel := context.WithTimeout(ctx, tuningOverhead)
	defer cancel()
	return r.inLab(settings, func(lab *Lab, t *tuned) error {
		return t.during(r.progress, func([]TuningChange) error {
			// One loop has one queue.
			if err := lab.Serve(ctx, []string{"--xdp", "off"}, maxConnsEnv(conns), "GOMAXPROCS=1"); err != nil {
				return err
			}
			defer lab.server.Stop(15 * time.Second)
			somaxconn, err := t.system.Files.Read("/proc/sys/net/core/somaxconn")
			if err != nil {
				return fmt.Errorf("read the length of the queue: %w", err)
			}
			to.Somaxconn = string(firstWord(somaxconn))
			before, err := lab.listening()
			if err != nil {
				return err
			}
			b := &backlogBurst{conns: conns}
			if err := b.run(ctx, lab); err != nil {
				return err
			}
			after, err := lab.listening()
			if err != nil {
				return err
			}
			to.StallSeconds, to.Waiting, to.Failed, to.LastSeconds = b.stood.Seconds(), b.waiting, b.failed, b.last.Seconds()
			to.Overflows, to.Drops = after.overflows-before.overflows, after.drops-before.drops
			return nil
		})
	})
}

// firstWord is text up to the first blank or line end.
func firstWord(text []byte) []byte {
	if i := slices.IndexFunc(text, func(b byte) bool { return b <= ' ' }); i >= 0 {
		return text[:i]
	}
	return text
}

// listens counts what happened to handshakes.
type listens struct{ overflows, drops uint64 }

// listening counts it in the edge's network.
func (l *Lab) listening() (c listens, err error) {
	var text []byte
	err = l.Edge.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/netstat")
		return err
	})
	if err != nil {
		return c, fmt.Errorf("count conns that were dropped: %w", err)
	}
	if c.overflows, err = tcpCounter(string(text), "ListenOverflows"); err != nil {
		return c, err
	}
	c.drops, err = tcpCounter(string(text), "ListenDrops")
	return c, err
}
