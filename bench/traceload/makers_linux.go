package traceload

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// batch is how many events are made between two looks at the clock, well below a millisecond's.
const batch = 64

// newMaker makes ready what makes the events of a kind, in a thread on a CPU.
func newMaker(cfg Config, cpu int) (maker, error) {
	switch cfg.Kind {
	case Accepts:
		return newAccepts()
	case Messages:
		return newMessages(cfg.Conns)
	case Wakeups:
		return newWakeups(cpu)
	case Datagrams:
		return newDatagrams()
	case Collections:
		return collections{}, nil
	default:
		return newPolls()
	}
}

// closeAll closes descriptors that are open, which are not 0.
func closeAll(fds ...int) error {
	var errs []error
	for _, fd := range fds {
		if fd > 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

// loopback is 127.0.0.1, with a port that the kernel chooses.
func loopback() *unix.SockaddrInet4 { return &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}} }

// bound is a new socket on loopback, and its address.
func bound(kind int) (fd int, at unix.Sockaddr, err error) {
	if fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, nil, fmt.Errorf("make a socket: %w", err)
	}
	if err = unix.Bind(fd, loopback()); err == nil {
		at, err = unix.Getsockname(fd)
	}
	if err != nil {
		return 0, nil, errors.Join(fmt.Errorf("bind a socket to loopback: %w", err), closeAll(fd))
	}
	return fd, at, nil
}

// accepts opens conns to itself, accepts them and resets them, so that none waits for its time.
type accepts struct {
	listener int
	at       unix.Sockaddr
}

func newAccepts() (*accepts, error) {
	fd, at, err := bound(unix.SOCK_STREAM)
	if err == nil {
		err = unix.Listen(fd, batch)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on loopback: %w", err), closeAll(fd))
	}
	return &accepts{fd, at}, nil
}

// most is few, as each takes tens of microseconds.
func (a *accepts) most() int { return 8 }

func (a *accepts) events(n int) (int, error) {
	for i := range n {
		near, far, err := a.meet()
		if err == nil {
			err = unix.SetsockoptLinger(far, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		}
		if err = errors.Join(err, closeAll(far, near)); err != nil {
			return i, err
		}
	}
	return n, nil
}

// meet opens a conn to the listener: both ends.
func (a *accepts) meet() (near, far int, err error) {
	if far, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, 0, fmt.Errorf("make a socket: %w: each message's conn takes two descriptors (ulimit -n)", err)
	}
	if err = unix.Connect(far, a.at); err != nil {
		return 0, far, fmt.Errorf("connect over loopback: %w", err)
	}
	if near, _, err = unix.Accept4(a.listener, unix.SOCK_CLOEXEC); err != nil {
		return 0, far, fmt.Errorf("accept over loopback: %w", err)
	}
	return near, far, nil
}

func (a *accepts) close() error { return closeAll(a.listener) }

// messages go to and fro on conns in turn: the answer acknowledges what it answers.
type messages struct {
	conns [][2]int
	next  int
	b     [1]byte
}

func newMessages(n int) (*messages, error) {
	a, err := newAccepts()
	if err != nil {
		return nil, err
	}
	m := &messages{}
	for range n {
		near, far, err := a.meet()
		m.conns = append(m.conns, [2]int{near, far})
		for _, fd := range m.conns[len(m.conns)-1] {
			if err == nil {
				err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
			}
		}
		if err != nil {
			return nil, errors.Join(err, m.close(), a.close())
		}
	}
	return m, a.close()
}

func (m *messages) most() int { return min(batch, 2*len(m.conns)) }

// events has half of them be written first, then read and answered, then those read.
func (m *messages) events(n int) (int, error) {
	pairs := (n + 1) / 2
	for _, step := range []func(c [2]int) error{
		func(c [2]int) error { return m.write(c[0]) },
		func(c [2]int) error { return errors.Join(m.read(c[1]), m.write(c[1])) },
		func(c [2]int) error { return m.read(c[0]) },
	} {
		for i := range pairs {
			if err := step(m.conns[(m.next+i)%len(m.conns)]); err != nil {
				return 0, err
			}
		}
	}
	m.next = (m.next + pairs) % len(m.conns)
	return 2 * pairs, nil
}

func (m *messages) write(fd int) error {
	_, err := retried(func() (int, error) { return unix.Write(fd, m.b[:]) })
	return err
}

func (m *messages) read(fd int) error {
	n, err := retried(func() (int, error) { return unix.Read(fd, m.b[:]) })
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// retried does what a signal has interrupted again.
func retried(f func() (int, error)) (n int, err error) {
	for {
		if n, err = f(); err != unix.EINTR { //nolint:errorlint // an errno as it comes
			return n, err
		}
	}
}

func (m *messages) close() error {
	var errs []error
	for _, c := range m.conns {
		errs = append(errs, closeAll(c[0], c[1]))
	}
	return errors.Join(errs...)
}

// wakeups are of two threads on one CPU: what one writes wakes the other.
type wakeups struct {
	to, from [2]int // pipes: what is read, what is written
	other    sync.WaitGroup
	failed   error // the other's, valid once it has ended
	b        [1]byte
}

func newWakeups(cpu int) (*wakeups, error) {
	w := &wakeups{}
	err := errors.Join(unix.Pipe2(w.to[:], unix.O_CLOEXEC), unix.Pipe2(w.from[:], unix.O_CLOEXEC))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make pipes: %w", err), closeAll(w.to[0], w.to[1], w.from[0], w.from[1]))
	}
	w.other.Go(func() {
		if w.failed = pin(cpu); w.failed == nil {
			w.failed = w.answer()
		}
		w.failed = errors.Join(w.failed, unix.Close(w.from[1])) // whoever waits for it then sees the end
	})
	return w, nil
}

// answer is the other thread, until its pipe ends.
func (w *wakeups) answer() error {
	var b [1]byte
	for {
		n, err := retried(func() (int, error) { return unix.Read(w.to[0], b[:]) })
		if n == 0 || err != nil {
			return err
		}
		if _, err := retried(func() (int, error) { return unix.Write(w.from[1], b[:]) }); err != nil {
			return err
		}
	}
}

func (w *wakeups) most() int { return batch }

func (w *wakeups) events(n int) (int, error) {
	pairs := (n + 1) / 2
	for range pairs {
		if _, err := retried(func() (int, error) { return unix.Write(w.to[1], w.b[:]) }); err != nil {
			return 0, fmt.Errorf("wake a thread: %w", err)
		}
		if n, err := retried(func() (int, error) { return unix.Read(w.from[0], w.b[:]) }); n == 0 || err != nil {
			return 0, errors.Join(errors.New("the thread to be woken has ended"), err)
		}
	}
	return 2 * pairs, nil
}

func (w *wakeups) close() error {
	err := unix.Close(w.to[1])
	w.other.Wait()
	return errors.Join(err, w.failed, closeAll(w.to[0], w.from[0]))
}

// datagrams go from a socket to itself.
type datagrams struct {
	fd int
	b  [1]byte
}

func newDatagrams() (*datagrams, error) {
	fd, at, err := bound(unix.SOCK_DGRAM)
	if err == nil {
		err = unix.Connect(fd, at)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("send datagrams to oneself: %w", err), closeAll(fd))
	}
	return &datagrams{fd: fd}, nil
}

func (d *datagrams) most() int { return batch }

func (d *datagrams) events(n int) (int, error) {
	for i := range n {
		if _, err := retried(func() (int, error) { return unix.Write(d.fd, d.b[:]) }); err != nil {
			return i, fmt.Errorf("send a datagram: %w", err)
		}
		if _, err := retried(func() (int, error) { return unix.Read(d.fd, d.b[:]) }); err != nil {
			return i, fmt.Errorf("receive a datagram: %w", err)
		}
	}
	return n, nil
}

func (d *datagrams) close() error { return closeAll(d.fd) }

// polls are of an event loop whose one event is always there.
type polls struct{ epoll, event int }

func newPolls() (p *polls, err error) {
	p = &polls{}
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
		p.event, err = unix.Eventfd(1, unix.EFD_CLOEXEC)
	}
	if err == nil {
		err = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, p.event, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(p.event)}) //nolint:gosec // a descriptor
	}
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("epoll", err), p.close())
	}
	return p, nil
}

func (p *polls) most() int { return batch }

func (p *polls) events(n int) (int, error) {
	var events [1]unix.EpollEvent
	for i := range n {
		if _, err := retried(func() (int, error) { return unix.EpollWait(p.epoll, events[:], -1) }); err != nil {
			return i, fmt.Errorf("poll: %w", err)
		}
	}
	return n, nil
}

func (p *polls) close() error { return closeAll(p.epoll, p.event) }

// collections are asked for, as those that Go's runtime begins by itself are off.
type collections struct{}

func (collections) most() int { return 1 }

func (collections) events(n int) (int, error) {
	for range n {
		runtime.GC()
	}
	return n, nil
}

func (collections) close() error { return nil }
