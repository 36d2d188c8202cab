//go:build linux

package xdp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/bpf/flood"
	"weir/bpf/netlab"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// pinDir is a directory for pins, removed at the end.
func pinDir(t *testing.T) string {
	t.Helper()
	dir := fmt.Sprintf("/sys/fs/bpf/weirtest-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// loadPinned loads the program in a namespace with its state kept, or adopts what is there.
func loadPinned(t *testing.T, in *netlab.Namespace, dir string, change func(*Config)) (p *Program, err error) {
	t.Helper()
	cfg := Config{Interface: "a0", Slots: 16, Proof: OptionOn, Pin: true, PinDir: dir}
	if change != nil {
		change(&cfg)
	}
	p, _, err = loadIn(t, in, cfg)
	return p, err
}

// TestNetnsPinnedStateOutlivesItsProcess kills the process that guards an interface, and another
// takes over: packets that the policy denies flow all the time and none of them passes, a
// connection goes on and is counted once.
func TestNetnsPinnedStateOutlivesItsProcess(t *testing.T) {
	guarded, other := lab(t)
	dir := pinDir(t)
	echoes(t, guarded, "198.18.0.1:80")
	denied := receiver(t, guarded, "198.18.0.1:9")
	kill := holder(t, guarded, "a0", holdPins+"="+dir)
	conn := dial(t, other, "198.18.0.2", "198.18.0.1:80")

	stop := make(chan struct{})
	sent := make(chan int)
	pause := time.Duration(bpftest.Often(0, 50)) * time.Millisecond // or an emulated CPU does nothing else
	go func() {
		n := 0
		defer func() { sent <- n }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(pause):
				send(t, other, "198.18.0.3:0", "198.18.0.1:9", 50)
				n += 50
			}
		}
	}()
	kill()
	var p *Program
	restarts := bpftest.Often(5, 2)
	for i := range restarts { // one after another
		var err error
		if p, err = loadPinned(t, guarded, dir, nil); err != nil {
			t.Fatalf("%+v", err)
		}
		if !p.Adopted() || p.Mode() != ModeEnforce || p.How() != AttachNative {
			t.Errorf("adopted %v, mode %v, attached %v", p.Adopted(), p.Mode(), p.How())
		}
		if n := connections(p, "198.18.0.2"); n != 1 {
			t.Errorf("restart %d: %d connections, want 1", i, n)
		}
		echoed(t, conn)
		if i == restarts-1 {
			break
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		echoed(t, conn)
	}
	close(stop)
	if n := <-sent; n == 0 {
		t.Error("nothing was sent")
	}
	if n := denied(0); n != 0 {
		t.Errorf("%d denied packets passed", n)
	}
	s, err := p.Stats()
	if err != nil || s.Dropped[ReasonDenied].Packets == 0 {
		t.Errorf("%d denied, %v", s.Dropped[ReasonDenied].Packets, err)
	}
	_ = conn.Close()
	eventually(t, "the end of the connection is not seen", func() bool { return connections(p, "198.18.0.2") == 0 })
	if err := errors.Join(p.Close(), Unpin(dir, "a0")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is not detached", func() bool {
		send(t, other, "198.18.0.3:0", "198.18.0.1:9", 5)
		return denied(0) == 5
	})
}

func echoed(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte{9}); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestNetnsPinnedStateThatDoesNotFitIsRefused(t *testing.T) {
	guarded, _ := lab(t)
	dir := pinDir(t)
	p, err := loadPinned(t, guarded, dir, nil)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if p.Adopted() {
		t.Error("there was nothing to adopt")
	}
	_, err = loadPinned(t, guarded, dir, func(c *Config) { c.Slots = 1024 })
	if !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), "its slots is 16, the configuration's 1024") || !strings.Contains(err.Error(), "weir quota unpin a0") {
		t.Errorf("other slots: %v", err)
	}
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, "a0", pinManifest), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close() //nolint:errcheck // it is a test's
	var is manifest
	if err := m.Lookup(uint32(0), &is); err != nil {
		t.Fatal(err)
	}
	is.Layout++
	if err := m.Put(uint32(0), is); err != nil {
		t.Fatal(err)
	}
	_, err = loadPinned(t, guarded, dir, nil)
	if !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), "its layout is") || !strings.Contains(err.Error(), "run the version that made it") {
		t.Errorf("another layout: %v", err)
	}
	// What is refused goes on.
	is.Layout--
	if err := m.Put(uint32(0), is); err != nil {
		t.Fatal(err)
	}
	if p, err := loadPinned(t, guarded, dir, nil); err != nil || !p.Adopted() {
		t.Errorf("after the refusals: %v", err)
	}
}

// TestNetnsUnfinishedPinsAreMadeAnew: a process killed at its start has left half of them.
func TestNetnsUnfinishedPinsAreMadeAnew(t *testing.T) {
	guarded, _ := lab(t)
	dir := pinDir(t)
	p, err := loadPinned(t, guarded, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Close(), os.Remove(filepath.Join(dir, "a0", pinManifest))); err != nil {
		t.Fatal(err)
	}
	if p, err := loadPinned(t, guarded, dir, nil); err != nil || p.Adopted() {
		t.Errorf("%v", err)
	}
}

// TestNetnsLinkOfAnotherAttachTypeIsAdopted: one made with a program of no expected attach type, as
// older loaders did, takes only such programs.
func TestNetnsLinkOfAnotherAttachTypeIsAdopted(t *testing.T) {
	bpftest.Require(t, "5.15", "xdp_weir")
	guarded, other := lab(t)
	dir := pinDir(t)
	p, err := loadPinned(t, guarded, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Put such a link in the place of the pinned one.
	err = guarded.Do(func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if err := errors.Join(p.link.Unpin(), p.link.Close(), p.reload()); err != nil {
			return err
		}
		ifc, err := net.InterfaceByName("a0")
		if err != nil {
			return err
		}
		p.link, err = link.AttachXDP(link.XDPOptions{Program: p.objs.XdpWeir, Interface: ifc.Index, Flags: link.XDPDriverMode})
		if err != nil {
			return err
		}
		return p.link.Pin(p.pins.path(pinLink))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p, err = loadPinned(t, guarded, dir, nil)
	if err != nil || !p.Adopted() {
		t.Fatalf("%+v", err)
	}
	setPolicy(t, p, Policy{Entries: []Entry{{Prefix: prefixes("198.18.0.0/16")[0], Deny: true}}}, ModeEnforce)
	count := receiver(t, guarded, "198.18.0.1:9")
	send(t, other, "198.18.0.2:0", "198.18.0.1:9", 5)
	if n := count(0); n != 0 {
		t.Errorf("%d denied packets passed", n)
	}
}

// TestNetnsFiftySwapsUnderAFloodPassNothingUnfiltered swaps the policy and the program itself fifty
// times each, while live frames of a denied source come as fast as they are made.
func TestNetnsFiftySwapsUnderAFloodPassNothingUnfiltered(t *testing.T) {
	bpftest.Require(t, "5.18", "XDP live frames")
	guarded, other := lab(t)
	mac, err := guarded.MAC("a0")
	if err != nil {
		t.Fatal(err)
	}
	dir := pinDir(t)
	p, err := loadPinned(t, guarded, dir, nil)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	denied := []Entry{{Prefix: prefixes("198.18.0.3/32")[0], Deny: true}}
	policies := []Policy{{Entries: denied}, {Classes: []Class{{Client: Level{Packets: perSecond(1_000_000, 1000)}}}, Entries: denied}}
	setPolicy(t, p, policies[0], ModeEnforce)
	count := receiver(t, guarded, "198.18.0.1:9")
	f, err := flood.Open(flood.Config{
		In: other, Interface: "b0", To: mac, Kind: flood.KindUDP,
		Sources: []netip.Addr{netip.MustParseAddr("198.18.0.3")}, Targets: []netip.AddrPort{netip.MustParseAddrPort("198.18.0.1:9")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it ends with the test
	ctx, cancel := contextOf(t)
	ended := make(chan error, 1)
	go func() {
		_, err := f.Run(ctx, 200_000)
		ended <- err
	}()
	const swaps = 50
	for i := range swaps {
		if err := p.Replace(policies[i%2]); err != nil {
			t.Fatal(err)
		}
		next, err := loadPinned(t, guarded, dir, nil)
		if err != nil {
			t.Fatalf("swap %d: %+v", i, err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		p = next
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	sent, err := f.Sent()
	if err != nil {
		t.Fatal(err)
	}
	if n := count(0); n != 0 {
		t.Errorf("%d denied packets passed", n)
	}
	s, err := p.Stats()
	if err != nil || s.Dropped[ReasonDenied].Packets < sent.Sent/2 || sent.Sent < 10_000 {
		t.Errorf("%d denied of %d sent, %v", s.Dropped[ReasonDenied].Packets, sent.Sent, err)
	}
	t.Logf("%d packets sent, %d denied, none passed, over %d swaps of policy and program", sent.Sent, s.Dropped[ReasonDenied].Packets, swaps)
}
