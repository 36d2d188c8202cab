package hub

import "math/bits"

const (
	// turnLevels is how many classes of topics there are by how far their sweeps have come: each
	// has come twice as far as the one before.
	turnLevels = 16
	// fairTurn is every how many turns one goes to the topic that has waited the longest, however far
	// it has come: so the big ones go on while small ones come without end.
	fairTurn = 4
)

// turns are the topics with work. The next slice is of one whose sweep has come the least far (least
// attained service): a topic of few subscribers is through with its batch while a big one goes on with
// what it has begun. All of it takes the same time for any number of topics.
type turns struct {
	levels [turnLevels]fifo[*topic]
	filled uint16 // the levels with topics, as bits
	given  uint64 // turns
	added  uint64 // topics
}

func (q *turns) empty() bool { return q.filled == 0 }

// add puts t at the end of those that have come as far, in slices of so many subscribers.
func (q *turns) add(t *topic, slice int) {
	level := 0
	if t.sweeping {
		level = min(bits.Len(uint(t.cursor/slice)), turnLevels-1) //nolint:gosec // a count, never negative
	}
	q.added++
	t.waits = q.added
	q.levels[level].push(t)
	q.filled |= 1 << level
}

// next takes the topic out whose turn it is; nil if there is none.
func (q *turns) next() *topic {
	if q.filled == 0 {
		return nil
	}
	q.given++
	level := bits.TrailingZeros16(q.filled)
	if q.given%fairTurn == 0 {
		for left := q.filled; left != 0; left &= left - 1 {
			if i := bits.TrailingZeros16(left); q.levels[i].front().waits < q.levels[level].front().waits {
				level = i
			}
		}
	}
	t := q.levels[level].pop()
	if q.levels[level].len() == 0 {
		q.filled &^= 1 << level
	}
	return t
}
