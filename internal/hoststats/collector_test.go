package hoststats

import (
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// scrape is each series without weir_host_, by its name and labels.
func scrape(tb testing.TB, c *Collector) map[string]float64 {
	tb.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "weir_host_")
			for _, l := range m.GetLabel() {
				name += "," + l.GetValue()
			}
			out[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}

func whole() map[string]float64 {
	page := pageBytes()
	return map[string]float64{
		"listen_overflows_total": 11, "listen_drops_total": 12, "tcp_memory_pressures_total": 13, "tcp_memory_aborts_total": 14,
		"tcp_retransmitted_segments_total": 30, "tcp_sent_segments_total": 2000,
		"tcp_sockets,in_use": 43, "tcp_sockets,orphan": 2, "tcp_sockets,time_wait": 17,
		"tcp_memory_bytes": 281 * page, "tcp_max_memory_bytes": 575796 * page,
		"softnet_squeezed_total": 0xf3 + 0xa9, "softnet_dropped_total": 7, "conntrack_entries": 123, "conntrack_max_entries": 262144,
		"source_readable,netstat": 1, "source_readable,snmp": 1, "source_readable,sockstat": 1,
		"source_readable,tcp_mem": 1, "source_readable,softnet": 1, "source_readable,nf_conntrack": 1,
	}
}

func TestAllIsReadOfAHostThatHasIt(t *testing.T) {
	if got := scrape(t, New("testdata/proc")); !maps.Equal(got, whole()) {
		t.Errorf("got %v", got)
	}
}

// TestWhatCannotBeReadIsLeftOutAndSaid spoils a file of each source.
func TestWhatCannotBeReadIsLeftOutAndSaid(t *testing.T) {
	for _, tt := range []struct{ file, text, source, gone string }{
		{"net/netstat", "TcpExt: ListenOverflows\nTcpExt: 1 2\n", "netstat", "listen_overflows_total listen_drops_total tcp_memory_pressures_total tcp_memory_aborts_total"},
		{"net/netstat", "TcpExt: ListenOverflows\nTcpExt: x\n", "netstat", "listen_overflows_total listen_drops_total tcp_memory_pressures_total tcp_memory_aborts_total"},
		{"net/snmp", "Ip: Forwarding\nIp: 1\n", "snmp", "tcp_retransmitted_segments_total tcp_sent_segments_total"},
		{"net/snmp", "", "snmp", "tcp_retransmitted_segments_total tcp_sent_segments_total"},
		{"net/sockstat", "TCP: inuse many\n", "sockstat", "tcp_sockets,in_use tcp_sockets,orphan tcp_sockets,time_wait tcp_memory_bytes"},
		{"sys/net/ipv4/tcp_mem", "1 2\n", "tcp_mem", "tcp_max_memory_bytes"},
		{"sys/net/ipv4/tcp_mem", "", "tcp_mem", "tcp_max_memory_bytes"},
		{"net/softnet_stat", "1 2 3\n", "softnet", "softnet_squeezed_total softnet_dropped_total"},
		{"sys/net/netfilter/nf_conntrack_count", "", "nf_conntrack", "conntrack_entries conntrack_max_entries"},
		{"sys/net/netfilter/nf_conntrack_max", "x\n", "nf_conntrack", "conntrack_entries conntrack_max_entries"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			proc := filepath.Join(t.TempDir(), "proc")
			if err := os.CopyFS(proc, os.DirFS("testdata/proc")); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(proc, tt.file)
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if tt.text != "" {
				if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want := whole()
			want["source_readable,"+tt.source] = 0
			for name := range strings.FieldsSeq(tt.gone) {
				delete(want, name)
			}
			if got := scrape(t, New(proc)); !maps.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestASystemWithoutProcHasNone(t *testing.T) {
	got := scrape(t, New(filepath.Join(t.TempDir(), "proc")))
	if len(got) != 6 {
		t.Errorf("%v", got)
	}
	for name, v := range got {
		if v != 0 {
			t.Errorf("%s is %v", name, v)
		}
	}
}

func TestThisHostIsRead(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it has no such /proc")
	}
	got := scrape(t, New(""))
	for _, source := range []string{"netstat", "snmp", "sockstat", "softnet"} { // all network namespaces have them
		if got["source_readable,"+source] != 1 {
			t.Errorf("%s cannot be read: %v", source, got)
		}
	}
}

func BenchmarkCollect(b *testing.B) {
	c := New("")
	b.ReportAllocs()
	for b.Loop() {
		ch := make(chan prometheus.Metric, 64)
		c.Collect(ch)
	}
}
