//go:build linux

package latency

import (
	"encoding/binary"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// eventLoop polls one descriptor on a thread of its own. Its methods are called on that thread.
type eventLoop struct {
	poller, event int
	err           error
}

// onLoop runs f on the thread of a loop.
func onLoop(tb testing.TB, f func(*eventLoop)) {
	tb.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var l eventLoop
		if l.poller, l.err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); l.err == nil {
			l.event, l.err = unix.Eventfd(0, unix.EFD_CLOEXEC)
		}
		if l.err == nil {
			l.err = unix.EpollCtl(l.poller, unix.EPOLL_CTL_ADD, l.event, &unix.EpollEvent{Events: unix.EPOLLIN})
		}
		if l.err == nil {
			f(&l)
			_ = unix.Close(l.event)
			_ = unix.Close(l.poller)
		}
		done <- l.err
	}()
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
}

// poll makes an event, and waits for it.
func (l *eventLoop) poll() {
	one := binary.NativeEndian.AppendUint64(nil, 1)
	if _, err := unix.Write(l.event, one); err != nil {
		l.err = err
	}
	events := make([]unix.EpollEvent, 1)
	for {
		n, err := unix.EpollWait(l.poller, events, 1000)
		if n == 1 {
			break
		}
		if err != unix.EINTR { //nolint:errorlint // a number
			l.err = err
			return
		}
	}
	if _, err := unix.Read(l.event, one); err != nil {
		l.err = err
	}
}

// busyOf is the histogram of a loop of this process, empty if there is none.
func busyOf(s *Snapshot, poller int) *Histogram {
	for i, l := range s.Loops {
		if int(l.Poller) == poller && int(l.PID) == os.Getpid() {
			return &s.Loops[i].Busy
		}
	}
	return &Histogram{Name: "of no such loop"}
}

//go:noinline
func sleepInCallback(d time.Duration) error {
	ts := unix.NsecToTimespec(int64(d))
	return unix.Nanosleep(&ts, nil)
}

//go:noinline
func spinInCallback(d time.Duration) { spin(d) }

func TestBPFStallMeasuresTheTimeBetweenPolls(t *testing.T) {
	tracer := trace(t, Stall, Config{PIDs: us()})
	others := trace(t, Stall, Config{PIDs: []int{nobody}})
	var took span
	poller := 0
	onLoop(t, func(l *eventLoop) {
		poller = l.poller
		begun := time.Now()
		l.poll()
		polled := time.Now()
		if err := sleepInCallback(made); err != nil {
			l.err = err
		}
		took.least = time.Since(polled)
		l.poll()
		took.most = time.Since(begun)
	})
	s := snapshot(t, tracer)
	took.holds(t, busyOf(s, poller), 0)
	if took.among(&s.Histograms[0]) == 0 {
		t.Errorf("it is not among all: %v", s.Histograms[0].Buckets)
	}
	if err := tracer.Stalls(func(s StallOf) { t.Errorf("a stall is told though nobody asked: %+v", s) }); err != nil {
		t.Error(err)
	}
	if s := snapshot(t, others); s.Histograms[0].Count != 0 || len(s.Loops) != 0 {
		t.Errorf("%d of another process are counted", s.Histograms[0].Count)
	}
}

// A loop that was closed while it was busy must not be found again under its descriptor's number.
func TestBPFStallForgetsWhatIsClosed(t *testing.T) {
	tracer := trace(t, Stall, Config{PIDs: us()})
	poller := 0
	onLoop(t, func(l *eventLoop) {
		poller = l.poller
		l.poll()
	})
	onLoop(t, func(l *eventLoop) {
		if l.poller != poller {
			t.Errorf("the new descriptor is %d: want %d again", l.poller, poller)
		}
		l.poll()
	})
	if h := busyOf(snapshot(t, tracer), poller); h.Count != 0 {
		t.Errorf("%d times are counted, and no loop polled twice: %v", h.Count, h.Buckets)
	}
}

func TestBPFStallTellsTheCode(t *testing.T) {
	for name, tt := range map[string]struct {
		callback func(time.Duration) error
		function string
	}{
		"which sleeps": {sleepInCallback, "latency.sleepInCallback"},
		"which spins":  {func(d time.Duration) error { spinInCallback(d); return nil }, "latency.spinInCallback"},
	} {
		t.Run(name, func(t *testing.T) {
			const long = 16 * time.Millisecond // beyond it Go's runtime may put another goroutine first
			tracer := trace(t, Stall, Config{PIDs: us(), Threshold: long / 2})
			code := ""
			for range 50 { // a loaded host may not have it run when the clock ticks
				if code = codeOf(t, tracer, long, tt.callback); strings.Contains(code, tt.function) {
					break
				}
			}
			if !strings.Contains(code, tt.function) {
				t.Errorf("the code is\n%s\nwant %s in it", code, tt.function)
			}
			if c := snapshot(t, tracer).Counters; c[0].Count < 1 || c[1].Count != 0 {
				t.Errorf("counters are %+v", c)
			}
		})
	}
}

// codeOf stalls a loop once, and is what is told of it: its code, if that was not looked at in the poll.
func codeOf(t *testing.T, tracer *Tracer, long time.Duration, callback func(time.Duration) error) string {
	t.Helper()
	stall := stallOnce(t, tracer, func() error { return callback(long) })
	if stall.Busy < long {
		t.Fatalf("the stall is %+v: want %v or more", stall, long)
	}
	if stall.Place == InPoll {
		return ""
	}
	var code []string
	symbols := NewSymbols()
	for i, address := range stall.User {
		code = append(code, symbols.User(stall.PID, address, i > 0))
	}
	return strings.Join(code, "\n")
}

func BenchmarkStall(b *testing.B) {
	for name, threshold := range map[string]time.Duration{"without code": 0, "with code": time.Second} {
		b.Run(name, func(b *testing.B) {
			tracer := trace(b, Stall, Config{PIDs: us(), Threshold: threshold, Cost: true})
			onLoop(b, func(l *eventLoop) {
				for b.Loop() {
					l.poll()
				}
			})
			perEvent(b, tracer)
		})
	}
}
