package loop

// spareDescriptors are those at the end of the limit that no conn is kept on: what the
// accepts and refusals of all loops may hold at one moment. Descriptors are given out lowest
// first, so a conn's own number says how many are left, whoever uses them.
const spareDescriptors = 64

// Bounds of the descriptors kept for other uses: files of the bus, the admin's conns.
const (
	minReserve = 64
	maxReserve = 2048
)

// DefaultMaxConns is the descriptor limit less a reserve of an eighth, which is at least 64
// and at most 2048.
func DefaultMaxConns() int {
	limit := DescriptorLimit()
	reserve := min(max(limit/8, minReserve), maxReserve)
	return max(limit-reserve-spareDescriptors, 1)
}
