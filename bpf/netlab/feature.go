package netlab

// FeatureGRO is generic receive offload. A veth end that has it takes XDP frames from its peer
// without a program of its own.
const FeatureGRO = "rx-gro"

// FeaturesTSO are those of TCP segmentation offload. A veth end without them hands all it sends
// to its peer's queue of XDP frames, if that has one; with them, only what comes by XDP, and the
// rest goes by the backlog of the CPU.
func FeaturesTSO() []string {
	return []string{"tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation", "tx-tcp6-segmentation"}
}
