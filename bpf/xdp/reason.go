package xdp

import "fmt"

// Reason is why a packet got its verdict. Its numbers are ABI, see bpf/include/abi.h.
type Reason uint32

// reasonCount mirrors REASON_MAX.
const reasonCount = int(weirReasonREASON_MAX)

// The reasons to pass, then those to drop.
const (
	ReasonPassOff       = Reason(weirReasonREASON_PASS_OFF)
	ReasonPassNotIP     = Reason(weirReasonREASON_PASS_NOT_IP)
	ReasonPassAllowed   = Reason(weirReasonREASON_PASS_ALLOWED)
	ReasonPassQuota     = Reason(weirReasonREASON_PASS_QUOTA)
	ReasonPassTotal     = Reason(weirReasonREASON_PASS_TOTAL)
	ReasonQuotaPackets  = Reason(weirReasonREASON_QUOTA_PACKETS)
	ReasonTablePressure = Reason(weirReasonREASON_TABLE_PRESSURE)
	ReasonContention    = Reason(weirReasonREASON_CONTENTION)
	ReasonEthShort      = Reason(weirReasonREASON_ETH_SHORT)
	ReasonVLANShort     = Reason(weirReasonREASON_VLAN_SHORT)
	ReasonVLANDepth     = Reason(weirReasonREASON_VLAN_DEPTH)
	ReasonIPv4Short     = Reason(weirReasonREASON_IPV4SHORT)
	ReasonIPv4Bad       = Reason(weirReasonREASON_IPV4BAD)
	ReasonIPv6Short     = Reason(weirReasonREASON_IPV6SHORT)
	ReasonIPv6Bad       = Reason(weirReasonREASON_IPV6BAD)
	ReasonExtShort      = Reason(weirReasonREASON_EXT_SHORT)
	ReasonExtDepth      = Reason(weirReasonREASON_EXT_DEPTH)
	ReasonL4Short       = Reason(weirReasonREASON_L4SHORT)

	ReasonPassUnproved     = Reason(weirReasonREASON_PASS_UNPROVED)
	ReasonPassCookie       = Reason(weirReasonREASON_PASS_COOKIE)
	ReasonPassNeighbor     = Reason(weirReasonREASON_PASS_NEIGHBOR)
	ReasonCookieSent       = Reason(weirReasonREASON_COOKIE_SENT)
	ReasonQuotaBytes       = Reason(weirReasonREASON_QUOTA_BYTES)
	ReasonQuotaConnections = Reason(weirReasonREASON_QUOTA_CONNECTIONS)
	ReasonQuotaConcurrent  = Reason(weirReasonREASON_QUOTA_CONCURRENT)
	ReasonAggregate        = Reason(weirReasonREASON_AGGREGATE)
	ReasonDenied           = Reason(weirReasonREASON_DENIED)
	ReasonUnprovedSource   = Reason(weirReasonREASON_UNPROVED_SOURCE)
	ReasonUnprovedTotal    = Reason(weirReasonREASON_UNPROVED_TOTAL)
	ReasonSYNFlood         = Reason(weirReasonREASON_SYN_FLOOD)
	ReasonOutOfState       = Reason(weirReasonREASON_OUT_OF_STATE)
	ReasonFragment         = Reason(weirReasonREASON_FRAGMENT)
	ReasonTCPBad           = Reason(weirReasonREASON_TCP_BAD)
	ReasonEscalatedSYN     = Reason(weirReasonREASON_ESCALATED_SYN)
	ReasonEscalated        = Reason(weirReasonREASON_ESCALATED)
)

var reasonNames = [reasonCount]string{
	ReasonPassOff:       "pass_off",
	ReasonPassNotIP:     "pass_not_ip",
	ReasonPassAllowed:   "pass_allowed",
	ReasonPassQuota:     "pass_quota",
	ReasonPassTotal:     "pass_total",
	ReasonQuotaPackets:  "quota_packets",
	ReasonTablePressure: "table_pressure",
	ReasonContention:    "contention",
	ReasonEthShort:      "eth_short",
	ReasonVLANShort:     "vlan_short",
	ReasonVLANDepth:     "vlan_depth",
	ReasonIPv4Short:     "ipv4_short",
	ReasonIPv4Bad:       "ipv4_bad",
	ReasonIPv6Short:     "ipv6_short",
	ReasonIPv6Bad:       "ipv6_bad",
	ReasonExtShort:      "ext_short",
	ReasonExtDepth:      "ext_depth",
	ReasonL4Short:       "l4_short",

	ReasonPassUnproved:     "pass_unproved",
	ReasonPassCookie:       "pass_cookie",
	ReasonPassNeighbor:     "pass_neighbor",
	ReasonCookieSent:       "cookie_sent",
	ReasonQuotaBytes:       "quota_bytes",
	ReasonQuotaConnections: "quota_connections",
	ReasonQuotaConcurrent:  "quota_concurrent",
	ReasonAggregate:        "aggregate",
	ReasonDenied:           "denied",
	ReasonUnprovedSource:   "unproved_source",
	ReasonUnprovedTotal:    "unproved_total",
	ReasonSYNFlood:         "syn_flood",
	ReasonOutOfState:       "out_of_state",
	ReasonFragment:         "fragment",
	ReasonTCPBad:           "tcp_bad",
	ReasonEscalatedSYN:     "escalated_syn",
	ReasonEscalated:        "escalated",
}

// String is the reason's label value.
func (r Reason) String() string {
	if int(r) >= reasonCount {
		return "unknown"
	}
	return reasonNames[r]
}

// Reasons are all of them, in order.
func Reasons() []Reason {
	all := make([]Reason, reasonCount)
	for i := range all {
		all[i] = Reason(i) //nolint:gosec // a handful
	}
	return all
}

// ParseReason reads what [Reason.String] writes.
func ParseReason(s string) (Reason, error) {
	for i, name := range reasonNames {
		if s == name {
			return Reason(i), nil //nolint:gosec // a handful
		}
	}
	return 0, fmt.Errorf("reason %q: want one of docs/METRICS.md, such as quota_packets", s)
}

// Drops reports whether the mode enforce drops packets for this reason. It answers those of
// ReasonCookieSent.
func (r Reason) Drops() bool {
	switch r {
	case ReasonPassOff, ReasonPassNotIP, ReasonPassAllowed, ReasonPassQuota, ReasonPassTotal,
		ReasonPassUnproved, ReasonPassCookie, ReasonPassNeighbor, ReasonCookieSent:
		return false
	}
	return true
}

// Parser reports whether a reason is one of the parser's: a policy may pass such packets.
func (r Reason) Parser() bool {
	return r >= ReasonEthShort && r <= ReasonL4Short || r == ReasonTCPBad || r == ReasonFragment
}

// Means is the reason in words.
func (r Reason) Means() string { return reasonMeanings[min(int(r), reasonCount)] }

var reasonMeanings = [reasonCount + 1]string{
	ReasonPassOff:          "the mode is off",
	ReasonPassNotIP:        "neither IPv4 nor IPv6",
	ReasonPassAllowed:      "the source is on the allow list",
	ReasonPassQuota:        "within its client's quotas",
	ReasonPassTotal:        "the table had no room for its client; within the class's budget",
	ReasonPassUnproved:     "its source has not proved its return path; within the class's budget for those",
	ReasonPassCookie:       "it brought a valid SYN cookie back",
	ReasonPassNeighbor:     "IPv6 neighbor discovery from the link",
	ReasonCookieSent:       "a SYN answered with a cookie",
	ReasonQuotaPackets:     "over its client's quota of packets",
	ReasonQuotaBytes:       "over its client's quota of bytes",
	ReasonQuotaConnections: "over its client's quota of new connections",
	ReasonQuotaConcurrent:  "its client has as many connections open as it may",
	ReasonAggregate:        "over a quota of the wider prefix that its client is in",
	ReasonDenied:           "the source is on the deny list",
	ReasonTablePressure:    "the table had no room for its client, and the class's budget is used up",
	ReasonContention:       "too many CPUs charged its client at once",
	ReasonUnprovedSource:   "its source has not proved its return path, and is over a client's quota",
	ReasonUnprovedTotal:    "its source has not proved its return path, and the class's budget for those is used up",
	ReasonSYNFlood:         "a SYN over the class's budget that could not be answered with a cookie",
	ReasonOutOfState:       "under attack: TCP of an unproved source that is no handshake",
	ReasonFragment:         "the policy drops fragments",
	ReasonTCPBad:           "TCP flags or a data offset that no TCP sends",
	ReasonEscalatedSYN:     "a new connection of a client that is escalated: it kept exceeding a quota of requests",
	ReasonEscalated:        "its client is escalated, as it kept exceeding a quota of requests, and this is more than may pass meanwhile",
	ReasonEthShort:         "it ends within the Ethernet header",
	ReasonVLANShort:        "it ends within a VLAN tag",
	ReasonVLANDepth:        "more than two VLAN tags",
	ReasonIPv4Short:        "it ends within the IPv4 header, or before its total length",
	ReasonIPv4Bad:          "an IPv4 header with a wrong version or length",
	ReasonIPv6Short:        "it ends within the IPv6 header, or before its payload length",
	ReasonIPv6Bad:          "an IPv6 header with a wrong version",
	ReasonExtShort:         "it ends within an IPv6 extension header",
	ReasonExtDepth:         "more than six IPv6 extension headers",
	ReasonL4Short:          "it ends within the TCP, UDP or ICMP header",
	reasonCount:            "unknown",
}
