//go:build linux

package flood

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"weir/bpf/bpftest"
	"weir/bpf/netlab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	feature     = "XDP live frames"
	edgeEnd     = "edge0"
	loadEnd     = "load0"
	xdpRedirect = 4
)

var (
	target4 = netip.MustParseAddrPort("198.18.0.1:8000")
	target6 = netip.MustParseAddrPort("[2001:db8::1]:8000")
)

// lab is two hosts joined by a cable.
func lab(t *testing.T) (edge, load *netlab.Namespace) {
	t.Helper()
	bpftest.Require(t, "5.18", feature)
	edge, load = bpftest.Namespace(t), bpftest.Namespace(t)
	err := netlab.Pair(
		netlab.End{In: edge, Interface: edgeEnd, Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.0.1/15"), netip.MustParsePrefix("2001:db8::1/32")}},
		netlab.End{In: load, Interface: loadEnd, Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.2.1/15"), netip.MustParsePrefix("198.18.2.2/15"), netip.MustParsePrefix("2001:db8:2::1/32")}},
	)
	if err == nil {
		err = edge.SetFeatures(edgeEnd, true, netlab.FeatureGRO)
	}
	if err != nil {
		t.Fatal(err)
	}
	return edge, load
}

func config(t *testing.T, edge, load *netlab.Namespace, kind Kind) Config {
	t.Helper()
	mac, err := edge.MAC(edgeEnd)
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		In: load, Interface: loadEnd, To: mac, Kind: kind, Targets: []netip.AddrPort{target4, target6},
		Sources: []netip.Addr{netip.MustParseAddr("198.18.2.1"), netip.MustParseAddr("198.18.2.2"), netip.MustParseAddr("2001:db8:2::1")},
	}
}

func open(t *testing.T, cfg Config) *Flood {
	t.Helper()
	f, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestNetnsProgramMakesEachFrameWithSourcesAndChecksumsOfItsOwn(t *testing.T) {
	edge, load := lab(t)
	spoofed := []netip.Prefix{netip.MustParsePrefix("198.19.0.0/16"), netip.MustParsePrefix("2001:db8:8000::/33")}
	for _, many := range []bool{false, true} {
		cfg := config(t, edge, load, KindMix)
		if many {
			cfg.Sources, cfg.Spoofed = nil, spoofed
		}
		f := open(t, cfg)
		want := layersOf(KindMix)
		sources, ports, ids := map[netip.Addr]bool{}, map[uint16]bool{}, map[uint32]bool{}
		const rounds = 50
		for i := range rounds * len(want) {
			opts := &ebpf.RunOptions{Data: slices.Repeat([]byte{0xee}, frameBytes), DataOut: make([]byte, frameBytes)}
			verdict, err := f.prog.Run(opts)
			if err != nil || verdict != xdpRedirect {
				t.Fatalf("verdict %d, %v", verdict, err)
			}
			got, err := parse(opts.DataOut)
			if err != nil {
				t.Fatalf("%s: %v: % x", want[i%len(want)], err, opts.DataOut)
			}
			if !slices.Contains(want, got.layers) || got.dst != target4.Addr() && got.dst != target6.Addr() {
				t.Fatalf("%+v is none of %q", got, want)
			}
			if !slices.Contains(cfg.Sources, got.src) && (!many || !spoofed[0].Contains(got.src) && !spoofed[1].Contains(got.src)) {
				t.Fatalf("from %v", got.src)
			}
			sources[got.src], ports[got.port], ids[got.id] = true, true, true
		}
		if !many && len(sources) != len(cfg.Sources) || many && len(sources) < 40*rounds*len(want)/50 {
			t.Errorf("%d sources in %d frames", len(sources), rounds*len(want))
		}
		if len(ports) < 500 || len(ids) < 300 {
			t.Errorf("%d ports and %d identifications in %d frames", len(ports), len(ids), rounds*len(want))
		}
	}
}

// tap reads what comes to the edge, without the outer VLAN tag, which the kernel takes off.
func tap(t *testing.T, edge *netlab.Namespace) (read func(deadline time.Time) []byte) {
	t.Helper()
	fd := -1
	err := edge.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL))); err != nil {
			return err
		}
		ifc, err := net.InterfaceByName(edgeEnd)
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifc.Index})
	})
	if err != nil {
		t.Fatal(err)
	}
	limit := unix.NsecToTimeval((20 * time.Millisecond).Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	buf := make([]byte, 2048)
	return func(deadline time.Time) []byte {
		for time.Now().Before(deadline) {
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				continue
			}
			if l, ok := from.(*unix.SockaddrLinklayer); ok && l.Pkttype == unix.PACKET_HOST {
				return buf[:n]
			}
		}
		return nil
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func TestNetnsEachKindArrivesInItsShape(t *testing.T) {
	for _, kind := range Kinds() {
		if kind == KindConnect {
			continue
		}
		t.Run(string(kind), func(t *testing.T) {
			edge, load := lab(t)
			f := open(t, config(t, edge, load, kind))
			read := tap(t, edge)
			missing := map[string]bool{}
			for _, layers := range layersOf(kind) {
				missing[untagged(layers)] = true
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := f.Run(ctx, 2000)
				done <- err
			}()
			deadline := time.Now().Add(10 * time.Second)
			for len(missing) > 0 {
				b := read(deadline)
				if b == nil {
					t.Fatalf("did not come: %v", missing)
				}
				if got, err := parse(b); err == nil && got.dst != (netip.Addr{}) {
					delete(missing, got.layers)
				}
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// untagged is without the outer tag.
func untagged(layers string) string {
	const tag = "vlan42 "
	if len(layers) > len(tag) && layers[:len(tag)] == tag {
		return layers[len(tag):]
	}
	return layers
}

func TestNetnsWhatIsSentArrivesAtItsRateAndStopsWhenTold(t *testing.T) {
	edge, load := lab(t)
	f := open(t, config(t, edge, load, KindMix))
	for _, rate := range []int{5000, 0} {
		before, err := edge.Counters(edgeEnd)
		if err != nil {
			t.Fatal(err)
		}
		lostBefore, err := load.Counters(loadEnd)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		start := time.Now()
		r, err := f.Run(ctx, rate)
		took := time.Since(start)
		cancel()
		if err != nil || r.Sent < 100 {
			t.Fatalf("%+v, %v", r, err)
		}
		if took > 5*time.Second || rate > 0 && float64(r.Sent) > float64(rate)*took.Seconds()+1 {
			t.Errorf("%d frames in %v at %d/s", r.Sent, took, rate)
		}
		lost, err := load.Counters(loadEnd)
		if err != nil {
			t.Fatal(err)
		}
		want := r.Sent - (lost.TxDropped - lostBefore.TxDropped)
		var got uint64
		deadline := time.Now().Add(5 * time.Second)
		for got < want && time.Now().Before(deadline) {
			after, err := edge.Counters(edgeEnd)
			if err != nil {
				t.Fatal(err)
			}
			got = after.Received - before.Received
		}
		if got < want || got > want+200 { // the hosts answer and resolve addresses, too
			t.Errorf("at %d/s: %d sent, %d not queued, %d arrived", rate, r.Sent, r.Sent-want, got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := f.Run(ctx, 0); err != nil || r.Sent != 0 {
		t.Errorf("after the end: %+v, %v", r, err)
	}
}

func TestNetnsRealConnsAreOpenedAndReset(t *testing.T) {
	edge, load := lab(t)
	var ln net.Listener
	err := edge.Do(func() (err error) {
		ln, err = net.Listen("tcp", ":8000")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	accepted, done := make(map[string]int), make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
				accepted[a.IP.String()]++
			}
			_ = conn.Close()
		}
	}()
	cfg := config(t, edge, load, KindConnect)
	f := open(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	r, err := f.Run(ctx, 200)
	if err != nil || r.Sent < uint64(len(cfg.Sources)) || r.Sent > 110 { // an emulated CPU makes few
		t.Errorf("%+v, %v", r, err)
	}
	_ = ln.Close()
	<-done
	for _, a := range cfg.Sources {
		if accepted[a.String()] == 0 {
			t.Errorf("none from %v: %v", a, accepted)
		}
	}
	cfg.Sources, cfg.Spoofed = nil, []netip.Prefix{netip.MustParsePrefix("198.19.0.0/16"), netip.MustParsePrefix("2001:db8:8000::/33")}
	if _, err := Open(cfg); err == nil {
		t.Error("real conns from spoofed sources")
	}
}

func TestNetnsFloodOnTheMachinesNetworkIsRefused(t *testing.T) {
	edge, load := lab(t)
	cfg := config(t, edge, load, KindSYN)
	cfg.In = nil
	if _, err := Open(cfg); !errors.Is(err, ErrNotIsolated) {
		t.Errorf("no namespace: %v", err)
	}
	// A namespace that is no longer made for it: its name is gone.
	f := open(t, config(t, edge, load, KindSYN))
	if err := netlab.Cleanup(load.Name); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if r, err := f.Run(t.Context(), 1); !errors.Is(err, ErrNotIsolated) || r.Sent != 0 {
		t.Errorf("a namespace without its name: %+v, %v", r, err)
	}
}

func TestNetnsPeerTakesFramesByItsProgramOrByGROAndNotWithoutEither(t *testing.T) {
	for _, tt := range []struct {
		name         string
		gro, program bool
	}{{"neither", false, false}, {"GRO", true, false}, {"a program", false, true}, {"both", true, true}} {
		edge, load := lab(t)
		if err := edge.SetFeatures(edgeEnd, tt.gro, netlab.FeatureGRO); err != nil {
			t.Fatal(err)
		}
		if tt.program {
			attach(t, edge, bpftest.Drop(t))
		}
		f := open(t, config(t, edge, load, KindUDP))
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(bpftest.Often(50, 500))*time.Millisecond)
		r, err := f.Run(ctx, bpftest.Often(10_000, 1000))
		cancel()
		if err != nil || r.Sent < 50 {
			t.Fatalf("%s: %+v, %v", tt.name, r, err)
		}
		c, err := edge.Counters(edgeEnd)
		arrives, deadline := tt.gro || tt.program, time.Now().Add(5*time.Second)
		for err == nil && arrives && c.Received < r.Sent/2 && time.Now().Before(deadline) {
			c, err = edge.Counters(edgeEnd)
		}
		if err != nil {
			t.Fatal(err)
		}
		if (c.Received >= r.Sent/2) != arrives {
			t.Errorf("%s: %d sent, %+v", tt.name, r.Sent, c)
		}
	}
}

// attach puts a program on the edge's end, in the driver.
func attach(t *testing.T, edge *netlab.Namespace, prog *ebpf.Program) {
	t.Helper()
	var l link.Link
	err := edge.Do(func() error {
		ifc, err := net.InterfaceByName(edgeEnd)
		if err != nil {
			return err
		}
		l, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: ifc.Index, Flags: link.XDPDriverMode})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
}
