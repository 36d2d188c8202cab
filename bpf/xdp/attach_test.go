//go:build linux

package xdp

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/bpf/netlab"

	"golang.org/x/sys/unix"
)

// loadIn loads the program and attaches it in the namespace. It is closed with the test, and there
// also if it could not be attached.
func loadIn(t *testing.T, in *netlab.Namespace, cfg Config) (p *Program, how AttachMode, err error) {
	t.Helper()
	err = in.Do(func() (err error) {
		if p, err = Load(cfg, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
		how, err = p.Attach()
		return err
	})
	if p != nil {
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return p, how, err
}

// attach is loadIn of a small table that gives every source a slot.
func attach(t *testing.T, in *netlab.Namespace, cfg Config) (*Program, AttachMode, error) {
	t.Helper()
	cfg.Slots, cfg.Proof = 16, OptionOff
	return loadIn(t, in, cfg)
}

func TestNetnsLoopbackHasGenericOnly(t *testing.T) {
	bpftest.Require(t, "5.15", "xdp_weir")
	host := bpftest.Namespace(t)
	if _, _, err := attach(t, host, Config{Interface: "lo", Attach: AttachNative}); !errors.Is(err, ErrNoNative) || !strings.Contains(err.Error(), "xdp.attach") {
		t.Errorf("native: %v", err)
	}
	p, how, err := attach(t, host, Config{Interface: "lo"})
	if err != nil || how != AttachGeneric || p.How() != AttachGeneric || p.Fallback() == nil {
		t.Fatalf("auto: %q, since %v, %v", how, p.Fallback(), err)
	}
	if again, err := p.Attach(); err != nil || again != AttachGeneric {
		t.Errorf("again: %q, %v", again, err)
	}
	setPolicy(t, p, packets(10, 1), ModeEnforce)
	count := receiver(t, host, "127.0.0.1:9")
	send(t, host, "127.0.0.1:0", "127.0.0.1:9", 50)
	if n := count(10); n != 10 {
		t.Errorf("%d of 50 came through a quota of 10", n)
	}
	send(t, host, "127.0.0.2:0", "127.0.0.1:9", 5)
	if n := count(5); n != 5 {
		t.Errorf("%d of another address's 5 came through", n)
	}
	if err := p.Close(); err != nil || p.How() != "" || p.Fallback() != nil {
		t.Errorf("%v, attached %q", err, p.How())
	}
	if _, err := p.Attach(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("attach after close: %v", err)
	}
	send(t, host, "127.0.0.1:0", "127.0.0.1:9", 50)
	if n := count(50); n != 50 {
		t.Errorf("%d of 50 came through when the program was gone", n)
	}
}

func TestNetnsBusyInterfaceNamesTheProgram(t *testing.T) {
	bpftest.Require(t, "5.15", "xdp_weir")
	host := bpftest.Namespace(t)
	first, _, err := attach(t, host, Config{Interface: "lo"})
	if err != nil {
		t.Fatal(err)
	}
	info, err := first.objs.XdpWeir.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	for _, mode := range []AttachMode{AttachAuto, AttachGeneric} {
		_, _, err = attach(t, host, Config{Interface: "lo", Attach: mode})
		if want := fmt.Sprintf("(program %d, xdp_weir)", id); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to name %s", mode, err, want)
		}
	}
}

func TestNetnsMissingInterfaceListsThoseThereAre(t *testing.T) {
	bpftest.Require(t, "5.15", "xdp_weir")
	host := bpftest.Namespace(t)
	_, _, err := attach(t, host, Config{Interface: "nope0"})
	if !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), "name one of lo as") {
		t.Errorf("got %v", err)
	}
}

// tun makes a tunnel that hands over raw packets, up, and returns its end.
func tun(t *testing.T, in *netlab.Namespace, name string) *os.File {
	t.Helper()
	var f *os.File
	err := in.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), "tun")
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			return err
		}
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(s) //nolint:errcheck // it only carries a request
		req.SetUint16(unix.IFF_UP)
		return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestNetnsTunnelIsRefused(t *testing.T) {
	bpftest.Require(t, "5.15", "xdp_weir")
	host := bpftest.Namespace(t)
	tun(t, host, "tun0")
	if _, _, err := attach(t, host, Config{Interface: "tun0"}); !errors.Is(err, ErrNotEthernet) || !strings.Contains(err.Error(), "xdp.interface") {
		t.Errorf("got %v", err)
	}
}

// TestNetnsEthShort sends less than an Ethernet header, which neither a test run nor an Ethernet
// driver gives a program, through a tunnel that Attach would refuse.
func TestNetnsEthShort(t *testing.T) {
	bpftest.Require(t, "5.15", "xdp_weir")
	host := bpftest.Namespace(t)
	end := tun(t, host, "tun0")
	p, _, err := attach(t, host, Config{Interface: "tun0"})
	if p == nil {
		t.Fatal(err)
	}
	err = host.Do(func() error {
		ifc, err := net.InterfaceByName("tun0")
		if err != nil {
			return err
		}
		return p.attach(ifc, AttachGeneric)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.SetMode(ModeEnforce); err != nil {
		t.Fatal(err)
	}
	if _, err := end.Write([]byte{0x45, 0, 0, 6, 0, 0}); err != nil {
		t.Fatal(err)
	}
	s, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if n := s.Dropped[ReasonEthShort]; n != (Count{1, 6}) {
		t.Errorf("counted %v", n)
	}
}

// holdVariable makes this test's binary a process that holds an interface and does nothing else;
// holdPins is the directory where it keeps its state, if any.
const (
	holdVariable = "XDP_TEST_HOLD"
	holdPins     = "XDP_TEST_PINS"
)

func hold(iface string) {
	cfg := Config{Interface: iface, Slots: 16, Proof: OptionOff}
	policy := packets(1, 1)
	if dir := os.Getenv(holdPins); dir != "" {
		cfg.Pin, cfg.PinDir, cfg.Proof = true, dir, OptionOn
		policy = class(Level{Packets: perSecond(1000, 1000)})
		policy.Entries = []Entry{{Prefix: prefixes("198.18.0.3/32")[0], Deny: true}}
	}
	p, err := Load(cfg, slog.New(slog.DiscardHandler))
	if err == nil {
		_, err = p.Attach()
	}
	if err == nil {
		err = p.Replace(policy)
	}
	if err == nil {
		err = p.SetMode(ModeEnforce)
	}
	fmt.Fprintln(os.Stdout, "holding", err)
	_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed, or whoever started it ends
	runtime.KeepAlive(p)
}

// holder starts a process that holds an interface of a namespace, and returns once it does.
func holder(t *testing.T, in *netlab.Namespace, iface string, env ...string) (kill func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), holdVariable+"="+iface), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close() })
	if err := in.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	said := make([]byte, 512)
	n, _ := out.Read(said)
	if got := string(said[:n]); got != "holding <nil>\n" {
		t.Fatalf("it said %q", got)
	}
	return kill
}

func TestNetnsKilledProcessLetsTrafficPass(t *testing.T) {
	bpftest.Require(t, "5.15", "xdp_weir")
	host := bpftest.Namespace(t)
	kill := holder(t, host, "lo")
	count := receiver(t, host, "127.0.0.1:9")
	send(t, host, "127.0.0.1:0", "127.0.0.1:9", 20)
	if n := count(1); n != 1 {
		t.Errorf("%d of 20 came through a quota of 1", n)
	}
	kill()
	for deadline := time.Now().Add(5 * time.Second); ; {
		send(t, host, "127.0.0.1:0", "127.0.0.1:9", 20)
		n := count(0) // the quota may still hold
		if n == 20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of 20 came through when the process was dead", n)
		}
	}
}

func TestBPFWithoutCapabilitiesSaysWhich(t *testing.T) {
	bpftest.Require(t, "5.15", "xdp_weir")
	// The loader remembers what it asked the kernel: ask with capabilities first, or it takes their
	// lack for the kernel's, and the tests after this one run programs in a form for old kernels.
	load(t, Config{Slots: 16})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&head, &have[0]); err != nil {
		t.Fatal(err)
	}
	none := have
	none[0].Effective, none[1].Effective = 0, 0
	if err := unix.Capset(&head, &none[0]); err != nil {
		t.Fatal(err)
	}
	p, err := Load(Config{Interface: "lo", Slots: 16}, slog.New(slog.DiscardHandler))
	if restore := unix.Capset(&head, &have[0]); restore != nil {
		t.Fatal(restore)
	}
	if err == nil {
		_ = p.Close()
	}
	if !errors.Is(err, ErrNotPermitted) || !strings.Contains(err.Error(), "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON") {
		t.Errorf("got %v", err)
	}
}

// TestNetnsInterfaceThatGoesAndComesBackIsGuardedAgain removes the guarded interface and makes it
// anew: the program says that it is off, and can be attached again, with its state.
func TestNetnsInterfaceThatGoesAndComesBackIsGuardedAgain(t *testing.T) {
	for _, pin := range []bool{false, true} {
		t.Run(fmt.Sprintf("pinned %v", pin), func(t *testing.T) {
			guarded, other := lab(t)
			p, err := loadPinned(t, guarded, pinDir(t), func(c *Config) { c.Pin = pin })
			if err != nil {
				t.Fatalf("%+v", err)
			}
			setPolicy(t, p, Policy{Entries: []Entry{{Prefix: prefixes("198.18.0.3/32")[0], Deny: true}}}, ModeEnforce)
			if on, err := p.Attached(); !on || err != nil {
				t.Errorf("attached %v, %v", on, err)
			}
			remove(t, guarded, "a0")
			eventually(t, "it is still attached", func() bool {
				on, err := p.Attached()
				return !on && err == nil
			})
			again := func() error {
				_, err := p.Attach()
				return err
			}
			if err := guarded.Do(again); !errors.Is(err, ErrNoInterface) {
				t.Errorf("attached to what is not there: %v", err)
			}
			joined(t, guarded, other)
			if err := guarded.Do(again); err != nil || p.How() != AttachNative {
				t.Fatalf("%q, %v", p.How(), err)
			}
			count := receiver(t, guarded, "198.18.0.1:9")
			send(t, other, "198.18.0.3:0", "198.18.0.1:9", 5)
			send(t, other, "198.18.0.2:0", "198.18.0.1:9", 7)
			if n := count(7); n != 7 {
				t.Errorf("%d packets came through, want 7", n)
			}
		})
	}
}
