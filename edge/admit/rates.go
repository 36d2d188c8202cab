package admit

// ways is how many prefixes a set has room for.
const ways = 4

// rated is what a prefix owes of its rate. The zero value owes nothing and is nobody's: the
// prefix ::/64, whose key it has, is the same to [rated.of] with and without an entry.
type rated struct {
	key
	arrival uint64 // theoretical, in ticks
}

// of is the arrival time of a prefix whose entry r is or may become.
func (r *rated) of(k key) uint64 {
	if r.key == k {
		return r.arrival
	}
	return 0
}

// rateSet is a set of the table of rates.
type rateSet [ways]rated

// find is the entry of a prefix, or one that may become its: nobody's, or of a prefix that owes
// nothing any more, which forgets nothing. nil if all others owe.
func (s *rateSet) find(k key, now uint64) (free *rated) {
	for i := range s {
		r := &s[i]
		if r.key == k {
			return r
		}
		if free == nil && r.arrival <= now {
			free = r
		}
	}
	return free
}
