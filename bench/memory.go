package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory is what a server holds after a garbage collection, and what the kernel does for all of the
// host; bytes.
type Memory struct {
	RSS float64 `json:"rss_bytes"`
	// Anon is the RSS without files, PSS with a share of what other processes have mapped too.
	Anon float64 `json:"rss_anon_bytes"`
	PSS  float64 `json:"pss_bytes"`
	// Heap is in use by Go; 0 of the floor, which has none.
	Heap float64 `json:"heap_bytes"`
	// Slab are the kernel's objects, Sockets the pages of TCP buffers: both ends of the conns.
	Slab    float64 `json:"kernel_slab_bytes"`
	Sockets float64 `json:"kernel_socket_bytes"`
}

// memory is the server's now.
func (srv *server) memory(ctx context.Context) (m Memory, err error) {
	heap, err := srv.collect(ctx)
	if err != nil {
		return m, err
	}
	m = Memory{Heap: float64(heap)}
	of := "/proc/" + strconv.Itoa(srv.Pid())
	for _, figure := range []struct {
		to         *float64
		path, name string
	}{
		{&m.RSS, of + "/status", "VmRSS"},
		{&m.Anon, of + "/status", "RssAnon"},
		{&m.PSS, of + "/smaps_rollup", "Pss"},
		{&m.Slab, "/proc/meminfo", "Slab"},
	} {
		n, err := kibField(figure.path, figure.name)
		if err != nil {
			return m, err
		}
		*figure.to = float64(n)
	}
	stat, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return m, fmt.Errorf("read memory: %w", err)
	}
	pages, err := tcpPages(string(stat))
	m.Sockets = float64(pages) * float64(os.Getpagesize())
	return m, err
}

// kibField is the first line "name: n kB" of a file (proc(5)), bytes.
func kibField(path, name string) (uint64, error) {
	v := strings.TrimSpace(strings.TrimSuffix(field(path, name), "kB"))
	n, err := strconv.ParseUint(v, 10, 53)
	if err != nil {
		return 0, fmt.Errorf("read %s of %s: %w", name, path, err)
	}
	return n << 10, nil
}

// tcpPages are those of all TCP buffers (/proc/net/sockstat).
func tcpPages(sockstat string) (uint64, error) {
	for line := range strings.Lines(sockstat) {
		fields := strings.Fields(line)
		for i := 1; i+1 < len(fields); i += 2 {
			if fields[0] == "TCP:" && fields[i] == "mem" {
				return strconv.ParseUint(fields[i+1], 10, 64)
			}
		}
	}
	return 0, errors.New("read memory: no TCP buffers in sockstat")
}

// perConn is what each of n conns adds to a server without any.
func (m Memory) perConn(empty Memory, n int) Memory {
	each := func(held, before float64) float64 { return (held - before) / float64(n) }
	return Memory{
		RSS: each(m.RSS, empty.RSS), Anon: each(m.Anon, empty.Anon), PSS: each(m.PSS, empty.PSS), Heap: each(m.Heap, empty.Heap),
		Slab: each(m.Slab, empty.Slab), Sockets: each(m.Sockets, empty.Sockets),
	}
}
