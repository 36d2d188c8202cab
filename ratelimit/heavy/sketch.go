package heavy

// Slot is what a [Sketch] has of a client.
type Slot[T any] struct {
	Name string
	// Count is what was counted for the client, too high by Over at most.
	Count, Over uint64
	// Data is the caller's, zero when the client takes the slot.
	Data T

	place int // in Sketch.order
}

// Sketch counts the heaviest clients by Space-Saving. It is for one goroutine at a time.
type Sketch[T any] struct {
	size  int
	slots []Slot[T]
	index map[string]int
	// order is a heap of slots, the one with the least count first. There is none before all are taken.
	order []int
	lost  uint64
}

// NewSketch returns a Sketch of so many slots, 1 or more. Memory is taken as clients come.
func NewSketch[T any](size int) *Sketch[T] {
	return &Sketch[T]{size: max(size, 1), index: make(map[string]int)}
}

// Add counts weight for a client, and returns its slot, which is good until the next Add. The name is lent, and copied if it is
// new; a client that has a slot costs no allocation. Nil is returned for a client without a slot whose weight is 0, if each slot
// has some: there is nothing to keep it by.
func (s *Sketch[T]) Add(name []byte, weight uint64) *Slot[T] {
	i, known := s.index[string(name)]
	if !known {
		if i = s.take(name, weight); i < 0 {
			return nil
		}
	}
	slot := &s.slots[i]
	slot.Count += weight
	if s.order != nil && weight > 0 {
		s.down(slot.place)
	}
	return slot
}

// take is a slot for a new client, -1 for none.
func (s *Sketch[T]) take(name []byte, weight uint64) int {
	if len(s.slots) < s.size {
		i := len(s.slots)
		s.slots = append(s.slots, Slot[T]{Name: string(name), place: i})
		s.index[s.slots[i].Name] = i
		if len(s.slots) == s.size {
			s.heapify()
		}
		return i
	}
	i := s.order[0]
	slot := &s.slots[i]
	if slot.Count > 0 && weight == 0 {
		s.lost++
		return -1
	}
	s.lost++
	delete(s.index, slot.Name)
	*slot = Slot[T]{Name: string(name), Count: slot.Count, Over: slot.Count, place: slot.place}
	s.index[slot.Name] = i
	return i
}

// Find is the slot of a client, nil without one.
func (s *Sketch[T]) Find(name string) *Slot[T] {
	if i, ok := s.index[name]; ok {
		return &s.slots[i]
	}
	return nil
}

// Slots are those that are taken, in no order; good until the next Add.
func (s *Sketch[T]) Slots() []Slot[T] { return s.slots }

// Least bounds what was counted for a client that has no slot, and how much too high any count is: 0 until all slots were taken.
func (s *Sketch[T]) Least() uint64 {
	if s.order == nil {
		return 0
	}
	return s.slots[s.order[0]].Count
}

// Lost is how often a client found no slot free. Until it does, all counts are exact.
func (s *Sketch[T]) Lost() uint64 { return s.lost }

// Reset forgets all clients, and keeps the memory.
func (s *Sketch[T]) Reset() {
	clear(s.slots)
	clear(s.index)
	s.slots, s.order, s.lost = s.slots[:0], nil, 0
}

func (s *Sketch[T]) heapify() {
	s.order = make([]int, len(s.slots))
	for i := range s.order {
		s.order[i] = i
	}
	for at := len(s.order)/2 - 1; at >= 0; at-- {
		s.down(at)
	}
}

// down moves the slot at a place of the heap, whose count has grown, to where it belongs.
func (s *Sketch[T]) down(at int) {
	for {
		least := at
		for child := 2*at + 1; child <= 2*at+2 && child < len(s.order); child++ {
			if s.slots[s.order[child]].Count < s.slots[s.order[least]].Count {
				least = child
			}
		}
		if least == at {
			return
		}
		s.order[at], s.order[least] = s.order[least], s.order[at]
		s.slots[s.order[at]].place, s.slots[s.order[least]].place = at, least
		at = least
	}
}
