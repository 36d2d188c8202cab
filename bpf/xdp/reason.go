package xdp

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

// Drops reports whether the mode enforce drops packets for this reason.
func (r Reason) Drops() bool { return r > ReasonPassTotal }
