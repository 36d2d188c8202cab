package hoststats

import (
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/procfs"
)

// source is a part of /proc.
type source string

// The sources, by the file that they are.
const (
	sourceNetstat   source = "netstat"      // TCP's counters beyond the standard's
	sourceSNMP      source = "snmp"         // TCP's counters
	sourceSockstat  source = "sockstat"     // sockets and their memory
	sourceTCPMem    source = "tcp_mem"      // the bound of that
	sourceSoftnet   source = "softnet"      // packets on their way from devices
	sourceConntrack source = "nf_conntrack" // connection tracking
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weir_host_"+name, help, labels, nil)
}

var (
	descReadable    = desc("source_readable", "Whether what is read of the host can be: 1, or 0; tcp_mem is in the host's own network namespace alone, nf_conntrack there with its module.", "source")
	descOverflows   = desc("listen_overflows_total", "Connections dropped since the accept queue of a listener was full, in this network namespace.")
	descDrops       = desc("listen_drops_total", "Connections dropped before they were accepted, for that and other reasons, in this network namespace.")
	descPressures   = desc("tcp_memory_pressures_total", "Times that TCP's memory came under pressure, in this network namespace.")
	descAborts      = desc("tcp_memory_aborts_total", "Connections ended for want of TCP's memory, in this network namespace.")
	descRetransmits = desc("tcp_retransmitted_segments_total", "TCP segments sent again, in this network namespace.")
	descSent        = desc("tcp_sent_segments_total", "TCP segments sent, those sent again left out, in this network namespace.")
	descSockets     = desc("tcp_sockets", "TCP sockets: in_use and time_wait of this network namespace, orphan (nobody has them open any more) of the host.", "state")
	descMemory      = desc("tcp_memory_bytes", "Memory of all TCP sockets of the host.")
	descMaxMemory   = desc("tcp_max_memory_bytes", "The bound of that: the last number of net.ipv4.tcp_mem.")
	descSqueezed    = desc("softnet_squeezed_total", "Times that a CPU of the host ended its round of packets with some left: net.core.netdev_budget.")
	descDropped     = desc("softnet_dropped_total", "Packets that the host dropped since a CPU's backlog was full: net.core.netdev_max_backlog.")
	descTracked     = desc("conntrack_entries", "Connections that are tracked, in this network namespace.")
	descMaxTracked  = desc("conntrack_max_entries", "Connections that can be: net.netfilter.nf_conntrack_max.")
)

// Collector is the host's metrics. It may be used by any goroutine.
type Collector struct{ proc string }

// New returns that of the host whose /proc is mounted at a directory; empty: at /proc.
func New(proc string) *Collector {
	if proc == "" {
		proc = procfs.DefaultMountPoint
	}
	return &Collector{proc}
}

// Describe implements [prometheus.Collector].
func (*Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descReadable, descOverflows, descDrops, descPressures, descAborts, descRetransmits, descSent, descSockets, descMemory, descMaxMemory,
		descSqueezed, descDropped, descTracked, descMaxTracked,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector]. It reads a dozen small files.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	fs, err := procfs.NewFS(c.proc)
	for _, s := range []struct {
		source source
		read   func(procfs.FS, sink) error
	}{
		{sourceNetstat, c.readNetstat},
		{sourceSNMP, c.readSNMP},
		{sourceSockstat, readSockstat},
		{sourceTCPMem, readTCPMem},
		{sourceSoftnet, readSoftnet},
		{sourceConntrack, readConntrack},
	} {
		readable := 0.0
		if err == nil && s.read(fs, ch) == nil {
			readable = 1
		}
		ch <- prometheus.MustNewConstMetric(descReadable, prometheus.GaugeValue, readable, string(s.source))
	}
}

// sink takes metrics.
type sink chan<- prometheus.Metric

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) count(d *prometheus.Desc, v float64) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v)
}

// counted is a counter among others of a file, which not all kernels have.
func (s sink) counted(d *prometheus.Desc, among map[string]float64, name string) {
	if v, ok := among[name]; ok {
		s.count(d, v)
	}
}

func (c *Collector) readNetstat(_ procfs.FS, out sink) error {
	n, err := table(filepath.Join(c.proc, "net", "netstat"), "TcpExt")
	if err != nil {
		return err
	}
	out.counted(descOverflows, n, "ListenOverflows")
	out.counted(descDrops, n, "ListenDrops")
	out.counted(descPressures, n, "TCPMemoryPressures")
	out.counted(descAborts, n, "TCPAbortOnMemory")
	return nil
}

func (c *Collector) readSNMP(_ procfs.FS, out sink) error {
	n, err := table(filepath.Join(c.proc, "net", "snmp"), "Tcp")
	if err != nil {
		return err
	}
	out.counted(descRetransmits, n, "RetransSegs")
	out.counted(descSent, n, "OutSegs")
	return nil
}

// pageBytes is the unit of TCP's memory.
func pageBytes() float64 { return float64(os.Getpagesize()) }

func readSockstat(fs procfs.FS, out sink) error {
	s, err := fs.NetSockstat()
	if err != nil {
		return err
	}
	inUse := 0.0
	if six, err := fs.NetSockstat6(); err == nil { // else there is no IPv6
		for _, p := range six.Protocols {
			if p.Protocol == "TCP6" {
				inUse += float64(p.InUse)
			}
		}
	}
	for _, p := range s.Protocols {
		if p.Protocol != "TCP" {
			continue
		}
		out.gauge(descSockets, inUse+float64(p.InUse), "in_use")
		for state, n := range map[string]*int{"orphan": p.Orphan, "time_wait": p.TW} {
			if n != nil {
				out.gauge(descSockets, float64(*n), state)
			}
		}
		if p.Mem != nil {
			out.gauge(descMemory, float64(*p.Mem)*pageBytes())
		}
	}
	return nil
}

func readTCPMem(fs procfs.FS, out sink) error {
	pages, err := fs.SysctlInts("net.ipv4.tcp_mem")
	if err != nil || len(pages) != 3 {
		return orMalformed(err)
	}
	out.gauge(descMaxMemory, float64(pages[2])*pageBytes())
	return nil
}

func readSoftnet(fs procfs.FS, out sink) error {
	cpus, err := fs.NetSoftnetStat()
	if err != nil {
		return err
	}
	var squeezed, dropped float64
	for _, c := range cpus {
		squeezed += float64(c.TimeSqueezed)
		dropped += float64(c.Dropped)
	}
	out.count(descSqueezed, squeezed)
	out.count(descDropped, dropped)
	return nil
}

func readConntrack(fs procfs.FS, out sink) error {
	count, err := fs.SysctlInts("net.netfilter.nf_conntrack_count")
	if err != nil || len(count) != 1 {
		return orMalformed(err)
	}
	most, err := fs.SysctlInts("net.netfilter.nf_conntrack_max")
	if err != nil || len(most) != 1 {
		return orMalformed(err)
	}
	out.gauge(descTracked, float64(count[0]))
	out.gauge(descMaxTracked, float64(most[0]))
	return nil
}
