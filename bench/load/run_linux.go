package load

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"weir/edge/ws"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Bounds of the worker.
const (
	connecting  = 256 // handshakes on their way at once
	readBytes   = 256 << 10
	maxLatency  = int64(60 * time.Second)
	connectTime = 2 * time.Minute
)

type worker struct {
	cfg    Config
	epoll  int
	conns  []*conn // by descriptor
	open   int
	dialed int // ever
	shaken int // ever
	oldest int // the descriptor whose turn to be closed it is
	buf    []byte
	hist   *hdrhistogram.Histogram
	report Report
	key    string
	head   []byte
}

type conn struct {
	fd    int
	check Check
	rest  []byte
	state uint8
}

const (
	stateConnecting = iota
	stateShaking
	stateOpen
)

// Run is a worker: it reads its Config and commands from in and writes Reports to out, until
// it is told to stop or in ends.
func Run(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return errors.New("a worker is started by weir bench, not by hand")
	}
	w := &worker{buf: make([]byte, readBytes), key: Key}
	if err := json.Unmarshal(lines.Bytes(), &w.cfg); err != nil {
		return fmt.Errorf("read the worker's configuration: %w", err)
	}
	commands := make(chan string, 4)
	go func() {
		defer close(commands)
		for lines.Scan() {
			commands <- lines.Text()
		}
	}()
	answer := json.NewEncoder(out)
	if w.cfg.ProbesPerSecond > 0 {
		return probe(w.cfg, commands, answer)
	}
	if err := w.start(); err != nil {
		w.report.Error = err.Error()
	}
	if err := answer.Encode(w.report); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return w.serve(commands, answer)
}

// serve reads events until told to stop.
func (w *worker) serve(commands <-chan string, answer *json.Encoder) error {
	for {
		if err := w.poll(5 * time.Millisecond); err != nil {
			return err
		}
		select {
		case c, ok := <-commands:
			if !ok {
				return nil
			}
			w.obey(c)
			if err := w.answer(answer); err != nil || c == CommandStop {
				return err
			}
			if c == CommandReset {
				w.report = Report{Connected: w.open}
				w.hist.Reset()
			}
		default:
		}
	}
}

// obey opens and closes conns, if that is the command.
func (w *worker) obey(command string) {
	verb, number, _ := strings.Cut(command, " ")
	n, err := strconv.Atoi(number)
	switch {
	case verb != CommandOpen && verb != CommandClose:
		return
	case err != nil:
	case verb == CommandOpen:
		err = w.openConns(n)
	default:
		w.closeConns(n)
	}
	if err != nil {
		w.report.Error = err.Error()
	}
}

func (w *worker) answer(answer *json.Encoder) error {
	w.report.Behind = 0
	for _, c := range w.conns {
		if c != nil && c.check.last != w.report.Last {
			w.report.Behind++
		}
	}
	w.report.Connected = w.open
	latency, err := w.hist.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return fmt.Errorf("encode latencies: %w", err)
	}
	w.report.Latency = latency
	if err := answer.Encode(w.report); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// start opens the first conns.
func (w *worker) start() (err error) {
	w.hist = hdrhistogram.New(1000, maxLatency, 3)
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("make an epoll: %w", err)
	}
	return w.openConns(w.cfg.Conns)
}

// openConns opens n conns more, some at a time.
func (w *worker) openConns(n int) error {
	first, shaken, closed := w.dialed, w.shaken, w.report.Faults.Closed
	w.report.OpenedFrom = monotonic()
	for w.shaken-shaken < n {
		for w.dialed-first < n && (w.dialed-first)-(w.shaken-shaken) < connecting {
			if err := w.dial(w.dialed); err != nil {
				return fmt.Errorf("connection %d: %w", w.dialed, err)
			}
			w.dialed++
		}
		if err := w.poll(100 * time.Millisecond); err != nil {
			return err
		}
		if w.report.Faults.Closed > closed {
			return fmt.Errorf("the edge closed or refused a connection, with %d open", w.open)
		}
		if monotonic()-w.report.OpenedFrom > connectTime.Nanoseconds() {
			return fmt.Errorf("%d of %d connections after %v", w.shaken-shaken, n, connectTime)
		}
	}
	w.report.OpenedTo = monotonic()
	w.report.Connected = w.open
	return nil
}

// closeConns ends n conns, or all if there are less, in the order of their descriptors.
func (w *worker) closeConns(n int) {
	for n = min(n, w.open); n > 0; w.oldest++ {
		c := w.conns[w.oldest%len(w.conns)]
		if c == nil || c.state != stateOpen {
			continue
		}
		if n%2 == 0 {
			_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // then it ends the other way
		}
		w.forget(c)
		n--
	}
}

func (w *worker) dial(i int) error {
	family := unix.AF_INET
	if w.cfg.Edge.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if n := len(w.cfg.Sources); n > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) // the port is chosen by the 4-tuple
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(w.cfg.Sources[i%n], 0))); err != nil {
			return fmt.Errorf("bind to %v: %w", w.cfg.Sources[i%n], err)
		}
	}
	if err := unix.Connect(fd, sockaddr(w.cfg.Edge)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("connect: %w", err)
	}
	for len(w.conns) <= fd {
		w.conns = append(w.conns, nil)
	}
	w.conns[fd] = &conn{fd: fd}
	ev := unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(fd)} //nolint:gosec // descriptors are small
	return unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &ev)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// poll waits for events of sockets and handles them.
func (w *worker) poll(wait time.Duration) error {
	var events [512]unix.EpollEvent
	n, err := unix.EpollWait(w.epoll, events[:], int(wait.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for sockets: %w", err)
	}
	for _, ev := range events[:n] {
		c := w.conns[ev.Fd]
		if c == nil {
			continue
		}
		if c.state == stateConnecting {
			w.shake(c)
			continue
		}
		w.read(c)
	}
	return nil
}

// shake sends the handshake of a conn that is connected.
func (w *worker) shake(c *conn) {
	w.head = ws.AppendClientHandshake(w.head[:0], w.cfg.Edge.String(), w.cfg.Target, w.key)
	if _, err := unix.Write(c.fd, w.head); err != nil {
		w.drop(c)
		return
	}
	c.state = stateShaking
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.fd)} //nolint:gosec // descriptors are small
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_MOD, c.fd, &ev); err != nil {
		w.drop(c)
	}
}

// drop is the end of a conn that should have lived.
func (w *worker) drop(c *conn) {
	w.forget(c)
	w.report.Faults.Closed++
}

func (w *worker) forget(c *conn) {
	_ = unix.Close(c.fd)
	w.conns[c.fd] = nil
	if c.state == stateOpen {
		w.open--
	}
}

// read takes what a conn has, once.
func (w *worker) read(c *conn) {
	n := copy(w.buf, c.rest)
	m, err := unix.Read(c.fd, w.buf[n:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	if err != nil || m == 0 {
		w.drop(c)
		return
	}
	b := w.buf[:n+m]
	if c.state == stateShaking {
		end := headEnd(b)
		if end == 0 {
			c.rest = append(c.rest[:0], b...)
			return
		}
		if ws.CheckServerHandshake(b[:end], w.key) != nil {
			w.drop(c)
			return
		}
		c.state = stateOpen
		w.open++
		w.shaken++
		b = b[end:]
	}
	used := w.frames(c, b)
	if w.conns[c.fd] != c {
		return
	}
	if used == len(b) {
		c.rest = nil
	} else {
		c.rest = append([]byte(nil), b[used:]...)
	}
}

// frames takes the whole frames of b and returns their length.
func (w *worker) frames(c *conn, b []byte) (used int) {
	now := monotonic()
	for {
		h, n, err := ws.ParseHeader(b[used:])
		if err != nil || len(b)-used < n+int(h.Length) {
			return used
		}
		payload := b[used+n : used+n+int(h.Length)]
		used += n + int(h.Length)
		switch h.OpCode {
		case ws.OpPing:
			w.head = ws.AppendMaskedFrame(w.head[:0], ws.OpPong, true, [4]byte{}, payload)
			_, _ = unix.Write(c.fd, w.head) // a conn that fails shows at its next read
		case ws.OpClose:
			w.drop(c)
			return used
		case ws.OpText, ws.OpBinary:
			w.event(c, payload, now)
		}
	}
}

func (w *worker) event(c *conn, payload []byte, now int64) {
	seq, due, err := ParsePayload(payload)
	if err != nil {
		w.report.Faults.Garbage++
		return
	}
	c.check.See(seq, &w.report.Faults)
	w.report.Deliveries++
	w.report.Last = max(w.report.Last, seq)
	_ = w.hist.RecordValue(min(max(now-due, 1000), maxLatency)) // in range by the min and max
}

// monotonic is CLOCK_MONOTONIC, which all processes of a host share.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil { // there is one
		panic(err)
	}
	return ts.Nano()
}

// Monotonic is the clock of a payload's due time.
func Monotonic() int64 { return monotonic() }
