package upstream

// Tried is which servers a request has been given to, so that a retry goes elsewhere. The zero value is none. It is a
// value of 32 bytes that belongs to one request: not to be used by two goroutines at once.
type Tried [MaxServers / 64]uint64

func (t *Tried) has(slot uint8) bool { return t[slot/64]&(1<<(slot%64)) != 0 }
func (t *Tried) add(slot uint8)      { t[slot/64] |= 1 << (slot % 64) }

// HashKey is a text as a key for [Pool.Pick]: the same in every process. It is FNV-1a with its bits mixed, no defense
// against clients who look for keys of one server; the bound on a server's load is.
func HashKey[T ~string | ~[]byte](text T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return mix(h)
}

// mix spreads what differs in any bit over all (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
