package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"weir/bpf/latency"
	"weir/edge"
)

// kernelState is what the kernel has of a client's sockets, by a walk over all of this network namespace.
type kernelState struct {
	// Off is why there is none, with what to do about it.
	Off     string         `json:"off,omitempty"`
	Sockets []kernelSocket `json:"sockets"`
}

// kernelSocket is one. Held says that weir knows it: others wait for accept(2), belong to others, or are the kernel's alone until the
// client has acknowledged what was sent.
type kernelSocket struct {
	Local            netip.AddrPort `json:"local"`
	Remote           netip.AddrPort `json:"remote"`
	State            string         `json:"state"`
	Held             bool           `json:"held"`
	Unsent           uint32         `json:"unsent_bytes"`
	Unacked          uint32         `json:"unacked_bytes"`
	Unread           uint32         `json:"unread_bytes"`
	Window           uint32         `json:"congestion_window_segments"`
	PeerWindow       uint32         `json:"receive_window_bytes"`
	RTT              time.Duration  `json:"rtt_ns"`
	Deviation        time.Duration  `json:"rtt_deviation_ns"`
	TotalRetransmits uint32         `json:"retransmitted_segments"`
	Retransmits      uint8          `json:"retransmits_now"`
}

// mostSockets bounds the sockets of a client that are shown.
const mostSockets = 100

// lookInKernel walks the sockets of this network namespace. It runs here, not in the weir that is asked: a walk over a million
// sockets takes most of a second of a CPU, and needs capabilities that weir gives up.
func lookInKernel(admin, client string, conns []edge.ConnReport) kernelState {
	k := kernelState{Sockets: []kernelSocket{}}
	if err := isHere(admin); err != nil {
		k.Off = err.Error()
		return k
	}
	t, err := latency.Open(latency.RTT, latency.Config{})
	if err == nil {
		k, err = kernelStateOf(client, conns, t.Sockets)
		err = errors.Join(err, t.Close())
	}
	if err != nil {
		k.Off = err.Error()
	}
	return k
}

// isHere says why a weir is not of this host; nil if it is.
func isHere(admin string) error {
	u, err := url.Parse(admin)
	if err != nil {
		return fmt.Errorf("look for %s: %w", admin, err)
	}
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	if host == "localhost" || err == nil && addr.IsLoopback() {
		return nil
	}
	own, _ := net.InterfaceAddrs() // none: it is not of these
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == addr {
			return nil
		}
	}
	return fmt.Errorf("%s is another host, as far as this one knows: run it there, with --admin http://127.0.0.1:PORT", host)
}

type socketEnds struct{ local, remote netip.AddrPort }

// kernelStateOf joins the sockets of a walk to what weir says of a client's conns, by their ends.
func kernelStateOf(client string, conns []edge.ConnReport, walk func(func(*latency.Socket) bool) error) (kernelState, error) {
	k := kernelState{Sockets: []kernelSocket{}}
	held := map[socketEnds]bool{}
	for _, c := range conns {
		if c.Local.IsValid() {
			held[socketEnds{c.Local, c.Remote}] = true
		}
	}
	found := 0
	err := walk(func(s *latency.Socket) bool {
		isHeld := held[socketEnds{s.Local, s.Remote}]
		if s.Listens() || !isHeld && !isOf(s.Remote, client) {
			return true
		}
		if isHeld {
			found++
		}
		if isHeld || len(k.Sockets) < mostSockets {
			k.Sockets = append(k.Sockets, kernelSocketOf(s, isHeld))
		}
		return true
	})
	slices.SortFunc(k.Sockets, func(a, b kernelSocket) int {
		return cmp.Or(-compareBools(a.Held, b.Held), a.Remote.Compare(b.Remote), a.Local.Compare(b.Local))
	})
	if err == nil && found == 0 && len(held) > 0 {
		k.Off = "no connection that weir holds is in this network namespace: run it in weir's, by nsenter -n -t PID weir why"
	}
	return k, err
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// isOf reports whether a socket's peer is the client: an address, or one with a port. That of a subject is not known.
func isOf(remote netip.AddrPort, client string) bool {
	if p, err := netip.ParseAddrPort(client); err == nil {
		return remote == netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	a, err := netip.ParseAddr(client)
	return err == nil && remote.Addr() == a.Unmap()
}

func kernelSocketOf(s *latency.Socket, held bool) kernelSocket {
	return kernelSocket{
		Local: s.Local, Remote: s.Remote, State: tcpState(s.State), Held: held, Unsent: s.Unsent, Unacked: s.Unacked, Unread: s.Unread,
		Window: s.Window, PeerWindow: s.PeerWindow, RTT: s.RTT, Deviation: s.Deviation, TotalRetransmits: s.TotalRetransmits, Retransmits: s.Retransmits,
	}
}

// tcpState is the name of a state of include/net/tcp_states.h.
func tcpState(state uint8) string {
	names := []string{"", "established", "syn-sent", "syn-received", "fin-wait-1", "fin-wait-2", "time-wait", "closed", "close-wait", "last-ack", "listening", "closing", "new"}
	if int(state) < len(names) && state > 0 {
		return names[state]
	}
	return fmt.Sprintf("state %d", state)
}

// of is the socket of a conn, nil if the kernel's is not known.
func (k *kernelState) of(c *edge.ConnReport) *kernelSocket {
	i := slices.IndexFunc(k.Sockets, func(s kernelSocket) bool { return s.Held && s.Local == c.Local && s.Remote == c.Remote })
	if i < 0 {
		return nil
	}
	return &k.Sockets[i]
}

// printRest prints the client's sockets that weir does not hold, or why none are known.
func (k *kernelState) printRest(out io.Writer) error {
	if k.Off != "" {
		_, err := fmt.Fprintf(out, "\nthe kernel was not asked: %s\n", k.Off)
		return err
	}
	first := true
	for i := range k.Sockets {
		s := &k.Sockets[i]
		if s.Held {
			continue
		}
		if first {
			fmt.Fprint(out, "\nsockets of it that weir does not hold: they wait for accept(2), are of others, or weir has closed them:\n")
		}
		first = false
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "%s\t%s, at %s\n", s.Remote, s.State, s.Local)
		s.print(w)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// print is what TCP_INFO has not said already, and for a socket that weir does not hold the rest.
func (s *kernelSocket) print(w io.Writer) {
	if !s.Held {
		fmt.Fprintf(w, "outstanding\t%d bytes unsent, %d bytes on their way in the kernel\n", s.Unsent, s.Unacked)
		fmt.Fprintf(w, "windows\t%d bytes of the client, %d segments of the network, round trip %v\n", s.PeerWindow, s.Window, s.RTT)
	}
	var parts []string
	if s.Held {
		parts = append(parts, fmt.Sprintf("%d bytes not acknowledged", s.Unacked))
	}
	parts = append(parts, fmt.Sprintf("%d bytes not read", s.Unread), fmt.Sprintf("%d segments sent again", s.TotalRetransmits))
	if s.Retransmits > 0 {
		parts = append(parts, fmt.Sprintf("the oldest %d times and not answered", s.Retransmits))
	}
	fmt.Fprintf(w, "kernel\t%s, round trip ± %v\n", strings.Join(parts, ", "), s.Deviation)
}
