//go:build linux

package xdp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/bpf/netlab"

	"golang.org/x/sys/unix"
)

// withoutPerfmon calls f in a namespace with CAP_NET_ADMIN and CAP_BPF alone: what a process has that serves.
func withoutPerfmon(t *testing.T, in *netlab.Namespace, f func() error) error {
	t.Helper()
	return in.Do(func() (err error) {
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var have [2]unix.CapUserData
		if err := unix.Capget(&head, &have[0]); err != nil {
			return err
		}
		few := have
		few[0].Effective, few[1].Effective = 1<<unix.CAP_NET_ADMIN, 1<<(unix.CAP_BPF-32)
		if err := unix.Capset(&head, &few[0]); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unix.Capset(&head, &have[0])) }()
		return f()
	})
}

// detachable loads and attaches a program that watches connections; older is a kernel that does not tell their ends by sockops.
func detachable(t *testing.T, in *netlab.Namespace, cfg Config, older bool) *Program {
	t.Helper()
	f := allFeatures(t)
	f.Watch, f.CallbackFlags = true, !older && hasCallbackFlags()
	cfg.Interface, cfg.Slots, cfg.Proof = "a0", 1024, OptionOn
	var p *Program
	err := in.Do(func() (err error) {
		if p, err = loadWith(cfg.Defaults(), f, nil, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
		_, err = p.Attach()
		return err
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return p
}

// once lets an address open one connection an hour, and another one send nothing.
func once() Policy {
	p := named(Class{Client: Level{Packets: perSecond(1000, 1000), Connections: hourly(1)}})
	p.Entries = []Entry{{Prefix: netip.MustParsePrefix("198.18.0.3/32"), Deny: true}}
	return p
}

// again attaches a program that was detached as a process does that serves, which can load none.
func again(t *testing.T, in *netlab.Namespace, p *Program) {
	t.Helper()
	err := withoutPerfmon(t, in, func() error {
		if another, err := Load(Config{Interface: "a0", Slots: 16, Proof: OptionOff}, slog.New(slog.DiscardHandler)); err == nil {
			return errors.Join(errors.New("another program was loaded: this proves nothing"), another.Close())
		}
		if how, err := p.Attach(); err != nil || how != AttachNative {
			return fmt.Errorf("%s: %w", how, err)
		}
		listeners, err := p.Listeners()
		if err != nil {
			return err
		}
		if told, err := p.Stamp(listeners); err != nil || told == 0 && p.Features().Cookies {
			return fmt.Errorf("%d of %d listeners are told to expect cookies: %w", told, len(listeners), err)
		}
		r, err := p.Samples(1)
		if err != nil {
			return err
		}
		return r.Close()
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if on, err := p.Attached(); !on || err != nil {
		t.Errorf("attached %v, %v", on, err)
	}
	if got := p.Policy(); p.Mode() != ModeEnforce || !reflect.DeepEqual(got, once()) {
		t.Errorf("%v %+v holds", p.Mode(), got)
	}
}

// kernels runs a test by the kernel's way of telling the ends of connections, and by that of an older one.
func kernels(t *testing.T, test func(t *testing.T, older bool)) {
	t.Helper()
	bpftest.Require(t, "5.15", "xdp_weir")
	for _, older := range []bool{false, true} {
		t.Run(fmt.Sprintf("older %v", older), func(t *testing.T) { test(t, older) })
	}
}

// untilDenied waits until so many packets were, since the program was loaded.
func untilDenied(t *testing.T, p *Program, packets uint64, what string) {
	t.Helper()
	eventually(t, what, func() bool {
		s, err := p.Stats()
		return err == nil && s.Dropped[ReasonDenied].Packets == packets
	})
}

func TestNetnsDetachedProgramIsAttachedAgainAsItWas(t *testing.T) {
	kernels(t, func(t *testing.T, older bool) {
		t.Helper()
		guarded, other := lab(t)
		echoes(t, guarded, "198.18.0.1:80")
		count := receiver(t, guarded, "198.18.0.1:9")
		p := detachable(t, guarded, Config{}, older)
		setPolicy(t, p, once(), ModeEnforce)
		a := dial(t, other, "198.18.0.2", "198.18.0.1:80")
		bindConn(t, p, a, "alice", "c0")
		send(t, other, "198.18.0.3:0", "198.18.0.1:9", 5)
		untilDenied(t, p, 5, "packets are not refused") // or they would come through when it is detached
		before := client(t, p, "198.18.0.2")
		for range 2 { // the second time it does nothing
			if err := p.Detach(); err != nil {
				t.Fatal(err)
			}
		}
		if on, err := p.Attached(); on || err != nil || p.How() != "" {
			t.Errorf("attached %v as %q, %v", on, p.How(), err)
		}
		send(t, other, "198.18.0.3:0", "198.18.0.1:9", 3)
		if n := count(3); n != 3 {
			t.Errorf("%d of 3 packets came through when it was detached", n)
		}
		b := dial(t, other, "198.18.0.2", "198.18.0.1:80")
		taker, _, err := attach(t, guarded, Config{Interface: "a0"})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		err = guarded.Do(func() error { _, err := p.Attach(); return err })
		if !errors.Is(err, ErrBusy) {
			t.Errorf("beside another: %v", err)
		}
		if err := errors.Join(a.Close(), taker.Close()); err != nil {
			t.Fatal(err)
		}
		again(t, guarded, p)
		eventually(t, "what came and went meanwhile is not seen", func() bool {
			return connections(p, "198.18.0.2") == 1 && bindings(t, p) == 0
		})
		if c := client(t, p, "198.18.0.2"); c.ConnectionTAT < before.ConnectionTAT || c.Packets < before.Packets {
			t.Errorf("it was %+v, and is %+v", before, c)
		}
		if c, err := tryDialQuick(other, "198.18.0.2", "198.18.0.1:80"); err == nil {
			_ = c.Close()
			t.Error("what it owed is forgotten: a connection was let in")
		}
		send(t, other, "198.18.0.3:0", "198.18.0.1:9", 4)
		untilDenied(t, p, 9, "packets are not refused, or not counted with those of before")
		_ = b.Close()
		eventually(t, "the end of a connection is not seen", func() bool { return connections(p, "198.18.0.2") == 0 })
		err = withoutPerfmon(t, guarded, func() error {
			return p.Switch(named(Class{}, Class{Client: Level{Packets: hourly(1)}}), ModeShadow)
		})
		if err != nil {
			t.Errorf("another policy: %v", err)
		}
	})
}

// TestNetnsDetachedPinnedProgramComesBackToWhatAnotherLeft: the pinned links and maps were another's meanwhile.
func TestNetnsDetachedPinnedProgramComesBackToWhatAnotherLeft(t *testing.T) {
	kernels(t, func(t *testing.T, older bool) {
		t.Helper()
		guarded, other := lab(t)
		cfg := Config{Pin: true, PinDir: pinDir(t)}
		echoes(t, guarded, "198.18.0.1:80")
		count := receiver(t, guarded, "198.18.0.1:9")
		p := detachable(t, guarded, cfg, older)
		setPolicy(t, p, once(), ModeEnforce)
		a := dial(t, other, "198.18.0.2", "198.18.0.1:80")
		bindConn(t, p, a, "alice", "c0")
		if err := p.Detach(); err != nil {
			t.Fatal(err)
		}
		send(t, other, "198.18.0.3:0", "198.18.0.1:9", 3)
		untilDenied(t, p, 3, "packets are not refused before another takes its place")
		if n := count(0); n != 0 {
			t.Errorf("%d denied packets came through before another took its place", n)
		}
		taker := detachable(t, guarded, cfg, older)
		setPolicy(t, taker, named(Class{}, Class{}, Class{}), ModeShadow)
		b := dial(t, other, "198.18.0.2", "198.18.0.1:80")
		bindConn(t, taker, b, "bob", "c2")
		mallory := ClientName{Identity: "mallory"}
		if err := taker.Escalate(Escalation{Client: mallory, SinceNanos: Now(), UntilNanos: Now() + uint64(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		send(t, other, "198.18.0.3:0", "198.18.0.1:9", 4)
		if n := count(4); n != 4 {
			t.Errorf("%d of 4 packets came through under the other's policy", n)
		}
		if err := errors.Join(taker.Close(), a.Close()); err != nil {
			t.Fatal(err)
		}
		again(t, guarded, p)
		if !p.Adopted() {
			t.Error("nothing was adopted")
		}
		eventually(t, "what came and went meanwhile is not seen", func() bool {
			return connections(p, "198.18.0.2") == 1 && bindings(t, p) == 1
		})
		if some, all, err := p.Bound(ClientName{Identity: "bob"}, 2); err != nil || all != 1 || some[0].Name != "bob" {
			t.Errorf("%d bindings, %+v, %v", all, some, err)
		}
		if s, err := p.Stats(); err != nil || s.Escalations != 1 {
			t.Errorf("%d escalations, %v", s.Escalations, err)
		}
		if was, err := p.Relieve(mallory); !was || err != nil {
			t.Errorf("relieved %v, %v", was, err)
		}
		send(t, other, "198.18.0.3:0", "198.18.0.1:9", 5)
		untilDenied(t, p, 8, "packets are not refused again")
		if n := count(0); n != 0 {
			t.Errorf("%d denied packets came through", n)
		}
		_ = b.Close()
		eventually(t, "the end of a connection is not seen", func() bool {
			return connections(p, "198.18.0.2") == 0 && bindings(t, p) == 0
		})
		if _, err := p.Sweep(Now()); err != nil {
			t.Error(err)
		}
	})
}

func TestBPFClosedProgramIsNotDetached(t *testing.T) {
	p := load(t, Config{Slots: 16})
	if err := errors.Join(p.Detach(), p.Close()); err != nil {
		t.Fatal(err)
	}
	if err := p.Detach(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
