package httpload

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Bounds of the generator.
const (
	connecting  = 256 // conns on their way at once, at first
	connectTime = time.Minute
	sweepEvery  = 20 * time.Millisecond
	// sendLate is how long after the end what was due before it is still sent: so long this process may wait for a CPU.
	sendLate   = 250 * time.Millisecond
	maxLatency = int64(2 * time.Minute)
)

// Run is a generator: it reads its Config from in, opens its conns, reports, waits for
// [CommandRun], keeps to the schedule, waits for what is still to come, reports and ends. It ends at once
// where in does instead.
func Run(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return errors.New("a load generator is started by weir bench, not by hand")
	}
	g := &generator{}
	if err := json.Unmarshal(lines.Bytes(), &g.cfg); err != nil {
		return fmt.Errorf("read the load generator's configuration: %w", err)
	}
	answer := json.NewEncoder(out)
	if err := g.open(); err != nil {
		return errors.Join(err, answer.Encode(Report{Error: err.Error()}))
	}
	defer g.close()
	if err := answer.Encode(Report{Connected: len(g.idle)}); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if !lines.Scan() || lines.Text() != CommandRun {
		return nil
	}
	if err := g.play(); err != nil {
		g.report.Error = err.Error()
	}
	var err error
	if g.report.Latency, err = g.asked[0].hist.Encode(hdrhistogram.V2CompressedEncodingCookieBase); err != nil {
		return fmt.Errorf("encode latencies: %w", err)
	}
	if g.cfg.Beside != "" {
		if g.report.LatencyBeside, err = g.asked[1].hist.Encode(hdrhistogram.V2CompressedEncodingCookieBase); err != nil {
			return fmt.Errorf("encode latencies: %w", err)
		}
	}
	return answer.Encode(g.report)
}

// generator is one thread's work.
type generator struct {
	cfg     Config
	asked   []asked // Target, and Beside if there is one
	draw    *rand.Rand
	epoll   int
	timer   int
	byFD    []*conn
	all     []*conn
	idle    []*conn // a ring: each conn has its turn
	first   int     // of the ring
	from    int64   // requests due before it do not count
	due     schedule
	report  Report
	buf     []byte
	playing bool
}

// asked is what requests ask for, and how long those took that were answered.
type asked struct {
	request []byte
	hist    *hdrhistogram.Histogram
}

// open makes the conns.
func (g *generator) open() (err error) {
	if err := g.cfg.Validate(); err != nil {
		return err
	}
	g.cfg = g.cfg.withDefaults()
	for _, target := range []string{g.cfg.Target, g.cfg.Beside} {
		if target != "" {
			request := []byte("GET " + target + " HTTP/1.1\r\nHost: " + g.cfg.To.String() + "\r\n\r\n")
			g.asked = append(g.asked, asked{request: request, hist: hdrhistogram.New(1000, maxLatency, 3)})
		}
	}
	g.draw = rand.New(rand.NewPCG(1, 2)) //nolint:gosec // which of two paths is no secret
	g.buf = make([]byte, 64<<10)
	if g.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("make an epoll: %w", err)
	}
	if g.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return fmt.Errorf("make a timer: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(g.timer)} //nolint:gosec // descriptors are small
	if err := unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, g.timer, &ev); err != nil {
		return fmt.Errorf("watch a timer: %w", err)
	}
	g.idle = make([]*conn, 0, g.cfg.Conns)
	begin := monotonic()
	for opened := 0; len(g.idle) < g.cfg.Conns; {
		for opened < g.cfg.Conns && opened-g.ready() < connecting {
			c := &conn{fd: -1, source: opened}
			g.all = append(g.all, c)
			if err := g.dial(c); err != nil {
				return fmt.Errorf("connection %d: %w", opened, err)
			}
			opened++
		}
		if err := g.poll(sweepEvery); err != nil {
			return err
		}
		if slices.ContainsFunc(g.all, func(c *conn) bool { return c.fd < 0 }) {
			return fmt.Errorf("the server closed or refused a connection, with %d open", len(g.idle))
		}
		if monotonic()-begin > connectTime.Nanoseconds() {
			return fmt.Errorf("%d of %d connections after %v", len(g.idle), g.cfg.Conns, connectTime)
		}
	}
	return nil
}

// play keeps to the schedule, and waits for what is on its way.
func (g *generator) play() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now := monotonic()
	g.playing = true
	g.from = now + g.cfg.Warm.Nanoseconds()
	g.due = newSchedule(now, g.cfg.PerSecond, (g.cfg.Warm + g.cfg.Duration).Seconds())
	g.report.Due, g.report.Seconds = g.due.counted(g.from), g.cfg.Duration.Seconds()
	end := now + (g.cfg.Warm + g.cfg.Duration).Nanoseconds()
	swept, last := now, end+sendLate.Nanoseconds()
	for {
		now = monotonic()
		if now-swept > sweepEvery.Nanoseconds() {
			swept = now
			g.sweep(now)
		}
		over := g.due.over() || now >= last
		if over && (g.busy() == 0 || now >= last+g.cfg.Timeout.Nanoseconds()) {
			break
		}
		wait := sweepEvery
		if !over {
			g.send(now)
			if g.ready() > 0 && !g.due.over() {
				wait = time.Duration(min(sweepEvery.Nanoseconds(), max(g.due.at(g.due.next)-monotonic(), 0)))
			}
		}
		if err := g.poll(wait); err != nil {
			return err
		}
	}
	g.playing = false
	g.settle()
	return nil
}

// settle counts what never came.
func (g *generator) settle() {
	for _, c := range g.all {
		if c.state == stateWaiting && c.due >= g.from {
			g.report.Lost++
		}
	}
	r := &g.report
	r.Unsent = r.Due - min(r.OK+r.Refused+r.Failed+r.Lost, r.Due)
}

// busy is how many requests are on their way.
func (g *generator) busy() (n int) {
	for _, c := range g.all {
		if c.state == stateWaiting {
			n++
		}
	}
	return n
}

// send sends what is due, while there is a conn for it.
func (g *generator) send(now int64) {
	for g.ready() > 0 {
		due, ok := g.due.take(now)
		if !ok {
			return
		}
		c := g.take()
		c.due, c.since, c.state = due, now, stateWaiting
		c.asked = &g.asked[g.draw.IntN(len(g.asked))]
		if n, err := unix.Write(c.fd, c.asked.request); err != nil || n != len(c.asked.request) {
			g.lose(c)
		}
	}
}

// sweep ends what waits for too long, and opens anew what could not be opened.
func (g *generator) sweep(now int64) {
	for _, c := range g.all {
		switch {
		case c.fd < 0:
			g.renew(c)
		case c.state != stateIdle && now-c.since > g.cfg.Timeout.Nanoseconds():
			g.lose(c)
		}
	}
}

// ready is how many conns are idle.
func (g *generator) ready() int { return len(g.idle) - g.first }

func (g *generator) take() *conn {
	c := g.idle[g.first]
	g.idle[g.first] = nil
	if g.first++; g.first == len(g.idle) {
		g.idle, g.first = g.idle[:0], 0
	}
	return c
}

// give has a conn wait for its turn.
func (g *generator) give(c *conn) {
	c.state = stateIdle
	if len(g.idle) == cap(g.idle) && g.first > 0 {
		n := copy(g.idle, g.idle[g.first:])
		clear(g.idle[n:])
		g.idle, g.first = g.idle[:n], 0
	}
	g.idle = append(g.idle, c)
}

// poll waits until a socket has something, but no longer than so.
func (g *generator) poll(wait time.Duration) error {
	ms := 0
	if wait > 0 {
		// epoll_wait(2) counts milliseconds, and its timer is slack: the timerfd is exact.
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(wait.Nanoseconds())}
		if err := unix.TimerfdSettime(g.timer, 0, &spec, nil); err != nil {
			return fmt.Errorf("set a timer: %w", err)
		}
		ms = -1
	}
	var events [512]unix.EpollEvent
	n, err := unix.EpollWait(g.epoll, events[:], ms)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for sockets: %w", err)
	}
	for _, ev := range events[:n] {
		if int(ev.Fd) == g.timer {
			var expired [8]byte
			_, _ = unix.Read(g.timer, expired[:]) // it is set anew before the next wait
			continue
		}
		if c := g.byFD[ev.Fd]; c != nil {
			g.handle(c)
		}
	}
	return nil
}

func (g *generator) close() {
	for _, c := range g.all {
		if c.fd >= 0 {
			_ = unix.Close(c.fd)
		}
	}
	_, _ = unix.Close(g.timer), unix.Close(g.epoll)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// monotonic is CLOCK_MONOTONIC.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil { // there is one
		panic(err)
	}
	return ts.Nano()
}
