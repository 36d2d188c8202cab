package tuning

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// established is the state of an open connection in /proc/net/tcp, see include/net/tcp_states.h.
const established = "01"

// Peers are the addresses that have a TCP connection to a port of this host, by /proc/net/tcp and
// tcp6 below root ("" for the real ones), each once, sorted.
func Peers(root string, port uint16) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, name := range []string{"tcp", "tcp6"} {
		path := filepath.Join("/", root, "proc/net", name)
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("find peers: %w", err)
		}
		s := bufio.NewScanner(f)
		s.Scan() // the heading
		for s.Scan() {
			fields := strings.Fields(s.Text())
			if len(fields) < 4 || fields[3] != established {
				continue
			}
			local, err := procAddr(fields[1])
			if err != nil {
				break
			}
			if remote, err := procAddr(fields[2]); err == nil && local.Port() == port {
				all = append(all, remote.Addr().Unmap())
			}
		}
		_ = f.Close() // it was only read
		if err := s.Err(); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}

// procAddr reads "0100007F:0016": an address in words of the host's order, and a port.
func procAddr(text string) (netip.AddrPort, error) {
	addr, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(addr)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, fmt.Errorf("address %q: want 4 or 16 bytes in hex and a port", text)
	}
	for i := 0; i < len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: want a port in hex", text)
	}
	a, _ := netip.AddrFromSlice(raw) // its length is an address's
	return netip.AddrPortFrom(a, uint16(p)), nil
}
