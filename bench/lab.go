package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"weir/bpf/flood"
	"weir/bpf/netlab"
)

// Interfaces and addresses of a [Lab], of those set aside for benchmarks and documents
// (RFC 2544, RFC 3849).
const (
	// LabEdgeEnd is the edge's interface, LabLoadEnd that of its clients.
	LabEdgeEnd = "edge0"
	LabLoadEnd = "load0"
	// LabAdmin is the admin address, inside the edge's namespace.
	LabAdmin = "127.0.0.1:8001"
	// LabMaxAddrs bounds the addresses of one group.
	LabMaxAddrs = 250

	labEdgePort = 8000
	// labSYNs is what of unproved sources' SYNs passes a second before they are answered with
	// cookies: what two CPUs, which are the load's as well, take with ease.
	labSYNs = 10_000
)

// Groups of clients: the third byte of their IPv4 addresses.
const (
	LabSubscribers = 1
	LabFlooders    = 2
	LabProbers     = 3
)

var (
	labRouter4 = netip.MustParseAddr("198.18.0.2")
	labRouter6 = netip.MustParseAddr("2001:db8::2")
)

// LabEdge is the edge's address.
func LabEdge() netip.AddrPort { return netip.MustParseAddrPort("198.18.0.1:8000") }

// LabEdge6 is the edge's address in IPv6.
func LabEdge6() netip.AddrPort { return netip.MustParseAddrPort("[2001:db8::1]:8000") }

// LabAddrs are the first n IPv4 addresses of a group, at most LabMaxAddrs.
func LabAddrs(group, n int) (all []netip.Addr) {
	for i := range n {
		all = append(all, netip.AddrFrom4([4]byte{198, 18, byte(group), byte(i + 1)})) //nolint:gosec // bounded by LabMaxAddrs
	}
	return all
}

// LabAddrs6 are the first n IPv6 addresses of a group, each in a network of its own.
func LabAddrs6(group, n int) (all []netip.Addr) {
	for i := range n {
		a := netip.MustParseAddr("2001:db8::1").As16()
		a[5], a[7] = byte(group), byte(i+1) //nolint:gosec // bounded by LabMaxAddrs
		all = append(all, netip.AddrFrom16(a))
	}
	return all
}

// LabSpoofed are prefixes that a flood's sources may be of, and nobody else's are.
func LabSpoofed() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("198.19.0.0/16"), netip.MustParsePrefix("2001:db8:8000::/33")}
}

// Lab is a weir in one network namespace, and room for its clients in another, which is its
// router to all addresses. It needs root.
type Lab struct {
	// Edge and Load are the namespaces.
	Edge, Load *netlab.Namespace
	// Client asks the admin API.
	Client *http.Client
	server *Process
	pass   io.Closer
}

// NewLab makes the namespaces and their cable, and removes first what an earlier run with the
// prefix left. The addresses are the clients'.
func NewLab(prefix string, addrs ...netip.Addr) (*Lab, error) {
	l, err := newPlainLab(prefix, addrs...)
	if err != nil {
		return nil, err
	}
	// SYN cookies arrive only at an end with a program of its own.
	if l.pass, err = l.Load.PassXDP(LabLoadEnd); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// newPlainLab is a lab whose clients have no program: no offload of the edge's end is switched off
// for it, and SYN cookies of a program do not arrive.
func newPlainLab(prefix string, addrs ...netip.Addr) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces are made by root: run it as root")
	}
	if err := netlab.Cleanup(prefix); err != nil {
		return nil, fmt.Errorf("remove what an earlier run left: %w", err)
	}
	l := &Lab{}
	if err := l.build(prefix, addrs); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.Client = &http.Client{Transport: &http.Transport{DialContext: l.Edge.DialContext}, Timeout: 10 * time.Second}
	return l, nil
}

func (l *Lab) build(prefix string, addrs []netip.Addr) (err error) {
	if l.Edge, err = netlab.New(prefix + "edge"); err != nil {
		return err
	}
	if l.Load, err = netlab.New(prefix + "load"); err != nil {
		return err
	}
	net4 := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 24) }
	net6 := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 64) }
	edge := netlab.End{In: l.Edge, Interface: LabEdgeEnd, Addrs: []netip.Prefix{net4(LabEdge().Addr()), net6(LabEdge6().Addr())}}
	load := netlab.End{In: l.Load, Interface: LabLoadEnd, Addrs: []netip.Prefix{net4(labRouter4), net6(labRouter6)}}
	for _, a := range addrs {
		load.Addrs = append(load.Addrs, netip.PrefixFrom(a, a.BitLen()))
	}
	if err := netlab.Pair(edge, load); err != nil {
		return err
	}
	for _, router := range []netip.Addr{labRouter4, labRouter6} {
		if err := l.Edge.DefaultRoute(LabEdgeEnd, router); err != nil {
			return err
		}
	}
	// With an XDP program and without one, the flood and the clients then share the edge's queue.
	if err := l.Edge.SetFeatures(LabEdgeEnd, true, netlab.FeatureGRO); err != nil {
		return err
	}
	return l.Load.SetFeatures(LabLoadEnd, false, netlab.FeaturesTSO()...)
}

// InLoad is a Starter among the clients.
func (l *Lab) InLoad(args []string, in io.Reader, out io.Writer, env ...string) (p *Process, err error) {
	doErr := l.Load.Do(func() error {
		p, err = StartProcess(args, in, out, env...)
		return err
	})
	return p, doErr
}

// Serve starts the weir with these arguments and variables, and waits until it is ready.
func (l *Lab) Serve(ctx context.Context, args []string, env ...string) error {
	args = append([]string{"serve", "--listen", fmt.Sprintf(":%d", labEdgePort), "--admin", LabAdmin, "--log-level", "error"}, args...)
	err := l.Edge.Do(func() (err error) {
		l.server, err = StartProcess(args, nil, nil, env...)
		return err
	})
	if err != nil {
		return err
	}
	return l.server.WaitReady(ctx, l.Client, "http://"+LabAdmin)
}

// LabServeXDP are Serve's arguments and variables with quotas in native XDP: each client's rate,
// packets a second, and burst.
func LabServeXDP(mode string, quota int) (args, env []string) {
	return []string{"--xdp", "on", "--interface", LabEdgeEnd}, []string{
		"WEIR_XDP_ATTACH=native", "WEIR_XDP_MODE=" + mode,
		fmt.Sprintf("WEIR_XDP_PACKETS=%d/s", quota), fmt.Sprintf("WEIR_XDP_BURST=%d", quota),
		fmt.Sprintf("WEIR_XDP_SYNS=%d/s", labSYNs),
	}
}

// Flood opens a flood of the edge from the clients' namespace, from sources in turn, or from
// random ones of prefixes; those whose family the edge is to be flooded in.
func (l *Lab) Flood(kind flood.Kind, sources []netip.Addr, spoofed []netip.Prefix) (*flood.Flood, error) {
	mac, err := l.Edge.MAC(LabEdgeEnd)
	if err != nil {
		return nil, err
	}
	cfg := flood.Config{In: l.Load, Interface: LabLoadEnd, To: mac, Kind: kind, Sources: sources, Spoofed: spoofed}
	for _, target := range []netip.AddrPort{LabEdge(), LabEdge6()} {
		same := func(a netip.Addr) bool { return a.Is4() == target.Addr().Is4() }
		if slices.ContainsFunc(sources, same) || slices.ContainsFunc(spoofed, func(p netip.Prefix) bool { return same(p.Addr()) }) {
			cfg.Targets = append(cfg.Targets, target)
		}
	}
	return flood.Open(cfg)
}

// Verdicts are the packets that a weir dropped, by reason, and those that it would have.
type Verdicts struct{ Dropped, WouldDrop map[string]uint64 }

// Verdicts asks the weir. Reasons are opaque: one that can drop has a counter of packets dropped.
func (l *Lab) Verdicts(ctx context.Context) (Verdicts, error) {
	v := Verdicts{map[string]uint64{}, map[string]uint64{}}
	text, err := get(ctx, l.Client, "http://"+LabAdmin+"/api/quota")
	if err != nil {
		return v, err
	}
	var shown struct {
		Result struct {
			Counters []struct {
				Action, Reason string
				Packets        uint64
			}
		}
	}
	if err := json.Unmarshal(text, &shown); err != nil {
		return v, fmt.Errorf("read the edge's answer: %w", err)
	}
	for _, c := range shown.Result.Counters {
		if c.Action == "drop" || c.Action == "answer" { // neither comes to the kernel
			v.Dropped[c.Reason] = c.Packets
		}
	}
	for _, c := range shown.Result.Counters {
		if _, drops := v.Dropped[c.Reason]; c.Action == "pass" && drops {
			v.WouldDrop[c.Reason] = c.Packets
		}
	}
	return v, nil
}

// Close ends the weir and removes the namespaces. What else runs in them must have ended.
func (l *Lab) Close() error {
	if l.server != nil {
		l.server.Stop(15 * time.Second)
	}
	var errs []error
	if l.pass != nil {
		errs = append(errs, l.pass.Close())
	}
	for _, n := range []*netlab.Namespace{l.Edge, l.Load} {
		if n != nil {
			errs = append(errs, n.Close())
		}
	}
	return errors.Join(errs...)
}
