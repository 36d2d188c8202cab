package flood

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"weir/bpf/netlab"
)

// ErrNotIsolated refuses to send where others could be hit.
var ErrNotIsolated = errors.New("a flood is sent only in a network namespace made for it")

// Config configures [Open].
type Config struct {
	// Interface sends, to the hardware address To.
	Interface string
	To        net.HardwareAddr
	// Sources take turns. Target is where the packets go.
	Sources []netip.Addr
	Target  netip.AddrPort
}

// Flood is a socket that floods.
type Flood struct {
	fd      int
	packets [][]byte
}

// maxPerSecond bounds a flood's rate.
const maxPerSecond = 2_000_000

// Open makes the socket in the calling thread's namespace: call it in netlab's Do.
func Open(cfg Config) (*Flood, error) {
	isolated, err := netlab.Isolated()
	if err != nil {
		return nil, err
	}
	if !isolated {
		return nil, ErrNotIsolated
	}
	ifc, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("flood through %s: %w", cfg.Interface, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	f := &Flood{fd: fd}
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0, Ifindex: ifc.Index})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("bind a packet socket to %s: %w", cfg.Interface, err)
	}
	for i, src := range cfg.Sources {
		frame := append(append([]byte{}, cfg.To...), ifc.HardwareAddr...)
		frame = binary.BigEndian.AppendUint16(frame, unix.ETH_P_IP)
		payload, proto := udp(cfg.Target.Port()), byte(unix.IPPROTO_UDP)
		if i%2 == 0 {
			payload, proto = syn(src, cfg.Target), unix.IPPROTO_TCP
		}
		f.packets = append(f.packets, append(append(frame, ipv4(src, cfg.Target.Addr(), proto, len(payload))...), payload...))
	}
	return f, nil
}

// Close ends the socket.
func (f *Flood) Close() { _ = unix.Close(f.fd) }

// Run sends at a rate, packets a second, until ctx ends, and returns how many were sent.
func (f *Flood) Run(ctx context.Context, perSecond int) (sent uint64, err error) {
	perSecond = min(perSecond, maxPerSecond)
	start := time.Now()
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return sent, nil
		case <-pace.C:
		}
		due := uint64(time.Since(start).Seconds() * float64(perSecond))
		for ; sent < due; sent++ {
			_, err := unix.Write(f.fd, f.packets[sent%uint64(len(f.packets))])
			if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) {
				break // the queue is full: what is due is made up for later
			}
			if err != nil {
				return sent, fmt.Errorf("flood: %w", err)
			}
		}
	}
}

func ipv4(src, dst netip.Addr, proto byte, payload int) []byte {
	b := make([]byte, 20)
	b[0], b[8], b[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(b[2:], uint16(20+payload)) //nolint:gosec // a small packet
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return b
}

func udp(port uint16) []byte {
	b := make([]byte, 8+18)
	binary.BigEndian.PutUint16(b, 4242)
	binary.BigEndian.PutUint16(b[2:], port)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b))) //nolint:gosec // a small packet
	return b
}

func syn(src netip.Addr, to netip.AddrPort) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, 4242)
	binary.BigEndian.PutUint16(b[2:], to.Port())
	b[12], b[13] = 5<<4, 2
	binary.BigEndian.PutUint16(b[14:], 65535)
	pseudo := append(append(src.AsSlice(), to.Addr().AsSlice()...), 0, unix.IPPROTO_TCP, 0, 20)
	binary.BigEndian.PutUint16(b[16:], checksum(append(pseudo, b...)))
	return b
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum) //nolint:gosec // folded above
}
