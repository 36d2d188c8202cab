package catalog

import (
	"slices"
	"strings"

	"weir/tuning/knob"
)

const ipSysctl = "kernel: Documentation/networking/ip-sysctl.rst"

// buffers are of the memory that sockets take.
func buffers() []Setting {
	return []Setting{
		{
			Key: "net.ipv4.tcp_mem", Scope: Global, Profiles: every(),
			Formula: "pages, not bytes: max = conns * pages of (bytes queued + 900) * 1.3, from 3/32 to 1/2 of the memory; " +
				"pressure = 3/4 of it, low = 1/2; one that suffices stays",
			Reason: "one small message unacked is a page of each conn: past max, conns are cut with \"TCP: out of memory\"",
			Source: ipSysctl + "; measured: 1 page a conn", Risk: "too high, and the host runs out of memory before TCP knows",
			Check:   "mem in /proc/net/sockstat; TCPMemoryPressures, TCPAbortOnMemory in nstat",
			Targets: tcpMem,
		},
		{
			Key: "net.ipv4.tcp_rmem", Scope: PerNamespace, Profiles: servers(),
			Formula: "edge: 4096 16384 1048576; gateway: 4096 65536 4194304",
			Reason:  "clients of an edge send little: what they may fill is bounded from the start",
			Source:  ipSysctl, Risk: "uploads over long ways begin slower, until the window has grown",
			Check: "rb in ss -tmi; TCPRcvCollapsed, PruneCalled in nstat",
			Targets: func(in Input) []Target {
				return tripleOf("net.ipv4.tcp_rmem", in.Profile == Edge, "4096 16384 1048576", "4096 65536 4194304")
			},
		},
		{
			Key: "net.ipv4.tcp_wmem", Scope: PerNamespace, Profiles: servers(),
			Formula: "edge: 4096 16384 1048576; gateway: 4096 65536 4194304",
			Reason:  "the share of tcp_mem that a slow client can hold",
			Source:  ipSysctl, Risk: "one conn over a long fat way is slower than it could be",
			Check: "wb in ss -tmi",
			Targets: func(in Input) []Target {
				return tripleOf("net.ipv4.tcp_wmem", in.Profile == Edge, "4096 16384 1048576", "4096 65536 4194304")
			},
		},
		{
			Key: "net.ipv4.tcp_notsent_lowat", Scope: PerNamespace, Profiles: []Profile{Gateway},
			Formula: "at most 131072", Reason: "a slow client is seen at 128 KiB unsent and not at megabytes; an edge sets 16 KiB for each of its sockets",
			Source: ipSysctl, Risk: "more wake-ups of who writes much",
			Check:   "notsent in ss -tmi",
			Targets: exact("net.ipv4.tcp_notsent_lowat", 131072, 4096, 131072),
		},
		{
			Key: "net.ipv4.tcp_slow_start_after_idle", Scope: PerNamespace, Profiles: every(),
			Formula: "0", Reason: "a conn that was idle for an hour sends its burst by the window that it had",
			Source: ipSysctl, Risk: "losses in small buffers on the way",
			Check:   "cwnd in ss -ti after a pause",
			Targets: exact("net.ipv4.tcp_slow_start_after_idle", 0, 0, 0),
		},
		{
			Key: "net.ipv4.tcp_autocorking", Scope: PerNamespace, Profiles: every(),
			Formula: "1, which is the default", Reason: "small writes behind one another leave as one packet, while one is in the device",
			Source: ipSysctl, Risk: "none: TCP_NODELAY holds",
			Check:   "TCPAutoCorking in nstat",
			Targets: exact("net.ipv4.tcp_autocorking", 1, 1, 1),
		},
	}
}

func tripleOf(key string, edge bool, forEdge, forGateway string) []Target {
	want := forGateway
	if edge {
		want = forEdge
	}
	return one(Target{Knob: knob.Sysctl(key, knob.Numbers), Want: want})
}

// tcpMem is a triple of pages. What is there stays if its max suffices and is not more than the host has; a
// file of somebody's with bytes in it has.
func tcpMem(in Input) []Target {
	h := in.Host
	pages := h.MemoryBytes / h.PageBytes
	needed := min(int64(in.Conns)*QueuedPages(in)*13/10, pages/2)
	most := max(needed, pages*3/32) // what the kernel begins with
	t := Target{Knob: knob.Sysctl("net.ipv4.tcp_mem", knob.Numbers), Want: words(most/2, most*3/4, most)}
	t.Accept = func(is string) bool {
		all, err := knob.Integers(is)
		return err == nil && len(all) == 3 && slices.IsSorted(all) && all[2] >= needed && all[2] <= pages
	}
	if h.MemoryBytes == 0 {
		t.Refuse = "how much memory there is is not known: /proc/meminfo does not say"
	}
	return one(t)
}

// backlog is the accept queue's: a fiftieth of the conns. All of them coming back in ten seconds make a tenth of
// them a second, and the loops may not accept for 0.2 s.
func backlog(in Input) int64 { return min(max(int64(in.Conns)/50, 4096), 65535) }

// handshakes are of conns that begin.
func handshakes() []Setting {
	return []Setting{
		{
			Key: "net.core.somaxconn", Scope: PerNamespace, Profiles: servers(),
			Formula: "at least conns / 50, within 4096 to 65535",
			Reason:  "bounds listen(2): all conns back in 10 s, while a loop does not accept for 0.2 s; past it SYNs are lost without a sign",
			Source:  ipSysctl, Risk: "a longer queue hides a loop that stands: look at the delay, not at overflows alone",
			Check:   "ListenOverflows in nstat; tracer accept",
			Targets: atLeast("net.core.somaxconn", mostBacklog, backlog),
		},
		{
			Key: "net.ipv4.tcp_max_syn_backlog", Scope: PerNamespace, Profiles: servers(),
			Formula: "as somaxconn", Reason: "counts only without SYN cookies; then half-open conns past it are lost",
			Source: ipSysctl, Risk: "some 320 bytes a half-open conn",
			Check:   "TCPReqQFullDrop in nstat",
			Targets: atLeast("net.ipv4.tcp_max_syn_backlog", mostBacklog, backlog),
		},
		{
			Key: "net.ipv4.tcp_syncookies", Scope: PerNamespace, Profiles: servers(),
			Formula: "1; 2 stays", Reason: "a flood of SYNs takes no memory: what overflows is answered with a cookie",
			Source: ipSysctl, Risk: "a conn by cookie has no options, unless timestamps are on",
			Check:   "SyncookiesSent, SyncookiesFailed in nstat",
			Targets: exact("net.ipv4.tcp_syncookies", 1, 1, 2),
		},
		{
			Key: "net.ipv4.tcp_timestamps", Scope: PerNamespace, Profiles: every(),
			Formula: "1; 2 stays", Reason: "a conn by SYN cookie keeps its options in them, and TIME_WAIT is told apart by them",
			Source: ipSysctl, Risk: "12 bytes a packet",
			Check:   "ts in ss -ti",
			Targets: exact("net.ipv4.tcp_timestamps", 1, 1, 2),
		},
		{
			Key: "net.ipv4.tcp_synack_retries", Scope: PerNamespace, Profiles: servers(),
			Formula: "at most 3", Reason: "a half-open conn of a flood is forgotten after 15 s and not after 63",
			Source: ipSysctl, Risk: "clients far away that lose three in a row",
			Check:   "TCPSynRetrans in nstat",
			Targets: exact("net.ipv4.tcp_synack_retries", 3, 1, 3),
		},
		{
			Key: "net.ipv4.tcp_abort_on_overflow", Scope: PerNamespace, Profiles: servers(),
			Formula: "0, which is the default", Reason: "who finds the accept queue full tries again, in place of a storm of resets",
			Source: ipSysctl, Risk: "none", Check: "ListenDrops in nstat",
			Targets: exact("net.ipv4.tcp_abort_on_overflow", 0, 0, 0),
		},
		{
			Key: "net.ipv4.ip_local_port_range", Scope: PerNamespace, Profiles: []Profile{Gateway, Bench},
			Formula: "10240 65535", Reason: "ports of conns that this host begins, for each address and port at the other end; below are weir's own",
			Source: ipSysctl, Risk: "services that listen above 10239: name them in ip_local_reserved_ports",
			Check: "EADDRNOTAVAIL; ss -tan | wc -l",
			Targets: func(Input) []Target {
				return one(Target{Knob: knob.Sysctl("net.ipv4.ip_local_port_range", knob.Numbers), Want: "10240 65535", Accept: wideRange})
			},
		},
	}
}

// wideRange accepts a range of 50,000 ports or more.
func wideRange(is string) bool {
	all, err := knob.Integers(is)
	return err == nil && len(all) == 2 && all[0] >= 1024 && all[1] <= 65535 && all[1]-all[0] >= 50_000
}

// endings are of conns that end, or are dead.
func endings() []Setting {
	return []Setting{
		{
			Key: "net.ipv4.tcp_fin_timeout", Scope: PerNamespace, Profiles: every(),
			Formula: "at most 15", Reason: "after a mass disconnect conns in FIN-WAIT-2 hold memory for so many seconds",
			Source: ipSysctl, Risk: "none that is known", Check: "ss -tan state fin-wait-2 | wc -l",
			Targets: exact("net.ipv4.tcp_fin_timeout", 15, 1, 15),
		},
		{
			Key: "net.ipv4.tcp_orphan_retries", Scope: PerNamespace, Profiles: every(),
			Formula: "3; 1 and 2 stay (0 means 8)", Reason: "a closed conn whose client is gone is given up sooner, with what it holds",
			Source: ipSysctl, Risk: "the last bytes to a client that was away for seconds",
			Check: "orphan in /proc/net/sockstat", Targets: exact("net.ipv4.tcp_orphan_retries", 3, 1, 3),
		},
		{
			Key: "net.ipv4.tcp_max_orphans", Scope: Global, Profiles: servers(),
			Formula: "at least conns / 8", Reason: "past it closed conns are reset, and the log fills",
			Source: ipSysctl, Risk: "up to 64 KiB of memory each, that cannot be swapped",
			Check:   "orphan in /proc/net/sockstat; TCPAbortOnMemory in nstat",
			Targets: atLeast("net.ipv4.tcp_max_orphans", mostInt32, func(in Input) int64 { return max(int64(in.Conns)/8, 8192) }),
		},
		{
			Key: "net.ipv4.tcp_max_tw_buckets", Scope: PerNamespace, Profiles: every(),
			Formula: "at least 0.4 * conns, and 65536", Reason: "conns in TIME_WAIT for 60 s, twice as many as end if all do within 5 minutes",
			Source: ipSysctl, Risk: "some 250 bytes each", Check: "tw in /proc/net/sockstat; TCPTimeWaitOverflow in nstat",
			Targets: atLeast("net.ipv4.tcp_max_tw_buckets", mostInt32, func(in Input) int64 { return max(int64(in.Conns)*2/5, 65536) }),
		},
		{
			Key: "net.ipv4.tcp_keepalive_time", Scope: PerNamespace, Profiles: servers(),
			Formula: "at most 300", Reason: "a net below WebSocket pings, for conns that nobody pings",
			Source: ipSysctl, Risk: "a packet each 5 minutes of an idle conn: batteries", Check: "timer in ss -to",
			Targets: exact("net.ipv4.tcp_keepalive_time", 300, 30, 300),
		},
	}
}

// paths are of how packets are sent on their way.
func paths() []Setting {
	return []Setting{
		{
			Key: "net.core.default_qdisc", Scope: Global, Profiles: servers(),
			Formula: "fq, where the kernel has it", Reason: "paces what BBR sends; without it each socket has a timer",
			Source: ipSysctl + "; tc-fq(8)", Risk: "holds for interfaces that come up later: tc qdisc replace for those that are",
			Check: "tc -s qdisc",
			Targets: func(in Input) []Target {
				t := Target{Knob: knob.Sysctl("net.core.default_qdisc", knob.Word), Want: "fq"}
				if has, known := in.Host.Module("sch_fq"); !has {
					t.Refuse = "sch_fq is not in this kernel"
					if !known {
						t.Refuse = "whether this kernel has sch_fq is not known: there is no list of its modules"
					}
				}
				return one(t)
			},
		},
		{
			Key: "net.ipv4.tcp_congestion_control", Scope: PerNamespace, Profiles: servers(),
			Formula: "bbr, where the kernel lists it", Reason: "clients on mobile ways lose packets that mean no congestion",
			Source: "kernel: net/ipv4/tcp_bbr.c", Risk: "takes more than its share beside cubic; a timer a socket without fq",
			Check: "ss -ti",
			Targets: func(in Input) []Target {
				t := Target{Knob: knob.Sysctl("net.ipv4.tcp_congestion_control", knob.Word), Want: "bbr"}
				listed, _ := in.Host.Text("/proc/sys/net/ipv4/tcp_available_congestion_control")
				if !slices.Contains(strings.Fields(listed), "bbr") {
					t.Refuse = "the kernel lists no bbr: modprobe tcp_bbr, if it was built"
				}
				return one(t)
			},
		},
		{
			Key: "net.netfilter.nf_conntrack_max", Scope: HostNamespace, Profiles: every(),
			Formula: "at least 2 * conns, if conntrack is there", Reason: "a full table drops new conns of everybody",
			Source: "kernel: Documentation/networking/nf_conntrack-sysctl.rst", Risk: "256 bytes an entry; longer chains, if the buckets stay",
			Check: "conntrack -S; nf_conntrack_count",
			Targets: func(in Input) []Target {
				if !in.Host.Exists("/proc/sys/net/netfilter/nf_conntrack_max") {
					return nil
				}
				return atLeast("net.netfilter.nf_conntrack_max", mostInt32, func(in Input) int64 { return 2 * int64(in.Conns) })(in)
			},
		},
		{
			Key: "conntrack", Scope: PerNamespace, Profiles: servers(),
			Formula: "none of the conns of clients, if conntrack is there", Reason: "an entry a conn and a lookup a packet, for rules that do not need it",
			Source: "nft(8), notrack", Risk: "rules with ct state no longer see these conns: allow the ports by themselves",
			Check: "nf_conntrack_count",
			Targets: func(in Input) []Target {
				if !in.Host.Exists("/proc/sys/net/netfilter/nf_conntrack_count") {
					return nil
				}
				return one(Target{
					Knob: knob.Knob{Name: "entries of conntrack", Path: "/proc/sys/net/netfilter/nf_conntrack_count", Form: knob.Number}, Want: "none of clients",
					Accept: func(string) bool { return false },
					Advice: "nft 'add table inet weir; add chain inet weir raw { type filter hook prerouting priority raw; }; add rule inet weir raw tcp dport PORT notrack', and the same for sport at the hook output",
				})
			},
		},
	}
}
