//go:build linux

package steer

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"weir/bpf/baseline"
	"weir/bpf/bpftest"

	"golang.org/x/sys/unix"
)

// listeners are n of one port, and how many conns each has accepted.
type listeners struct {
	t     *testing.T
	all   []*net.TCPListener
	files []int
	mu    sync.Mutex
	got   []int
}

func listen(t *testing.T, n int) *listeners {
	t.Helper()
	ls := &listeners{t: t, got: make([]int, n)}
	cfg := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); e != nil {
			return e
		}
		return err
	}}
	cfg.SetMultipathTCP(false) // whose listeners are none of TCP's
	addr := "127.0.0.1:0"
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	for i := range n {
		ln, err := cfg.Listen(context.Background(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		addr = ln.Addr().String()
		tcp := ln.(*net.TCPListener)
		t.Cleanup(func() { _ = ln.Close() })
		raw, err := tcp.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { ls.files = append(ls.files, int(fd)) })
		}
		if err != nil {
			t.Fatal(err)
		}
		ls.all = append(ls.all, tcp)
		wg.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = fmt.Fprintf(c, "%c", 'a'+i)
				ls.mu.Lock()
				ls.got[i]++
				ls.mu.Unlock()
				_ = c.Close()
			}
		})
	}
	return ls
}

// connect connects n times from a CPU, on which loopback hands the SYN over too, and says which
// listeners took how many.
func (ls *listeners) connect(cpu, n int) map[byte]int {
	ls.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		ls.t.Fatal(err)
	}
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		ls.t.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &before) //nolint:errcheck // the thread may use them again
	port := ls.all[0].Addr().(*net.TCPAddr).Port
	by := map[byte]int{}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			ls.t.Fatal(err)
		}
		var b [1]byte
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
		if err == nil {
			_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
			_, err = unix.Read(fd, b[:])
		}
		_ = unix.Close(fd)
		if err != nil {
			ls.t.Fatal(err)
		}
		by[b[0]]++
	}
	return by
}

func TestBPFConnsGoToAListenerOfTheirCPU(t *testing.T) {
	bpftest.Require(t, "4.19", "sk_reuseport")
	cpus, err := baseline.CPUs()
	if err != nil {
		t.Fatal(err)
	}
	const width, conns = 2, 200
	ls := listen(t, width*len(cpus))
	s, err := New(cpus[len(cpus)-1]+1, width)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the process's end does so too
	for i, fd := range ls.files {
		if err := s.Place(cpus[i/width], i%width, fd); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Attach(ls.files[0]); err != nil {
		t.Fatal(err)
	}
	for i, cpu := range cpus {
		by := ls.connect(cpu, conns)
		first, second := byte('a'+i*width), byte('a'+i*width+1)
		if by[first]+by[second] != conns || by[first] < conns/4 || by[second] < conns/4 {
			t.Errorf("%d conns of CPU %d went to %v, want them shared by %c and %c", conns, cpu, by, first, second)
		}
	}
	// Who is gone gets no more: the kernel chooses among the others.
	last := len(ls.all) - 1
	_ = ls.all[last].Close()
	if by := ls.connect(cpus[len(cpus)-1], conns); by[byte('a'+last)] != 0 {
		t.Errorf("%d conns went to a listener that is closed", by[byte('a'+last)])
	}
}

func TestBPFPlaceRefusesWhatIsNotThere(t *testing.T) {
	bpftest.Require(t, "4.19", "sk_reuseport")
	if _, err := New(0, 1); err == nil {
		t.Error("no CPU")
	}
	s, err := New(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the process's end does so too
	ls := listen(t, 1)
	for _, at := range [][2]int{{1, 0}, {0, 1}, {-1, 0}} {
		if s.Place(at[0], at[1], ls.files[0]) == nil {
			t.Errorf("placed at %v", at)
		}
	}
	if s.Place(0, 0, 1<<20) == nil {
		t.Error("placed what is no descriptor")
	}
}
