package hub

// fifo is a queue.
type fifo[T any] struct {
	items []T
	start int
}

func (f *fifo[T]) len() int { return len(f.items) - f.start }

// all are those in the queue, in order, until it changes.
func (f *fifo[T]) all() []T { return f.items[f.start:] }

func (f *fifo[T]) front() T { return f.items[f.start] }

func (f *fifo[T]) push(items ...T) { f.items = append(f.items, items...) }

func (f *fifo[T]) pop() T {
	t := f.items[f.start]
	clear(f.items[f.start : f.start+1])
	f.start++
	// What is left moves to the front once as many have gone, which is a step each.
	if f.start > len(f.items)/2 {
		n := copy(f.items, f.items[f.start:])
		clear(f.items[n:])
		f.items, f.start = f.items[:n], 0
	}
	return t
}
