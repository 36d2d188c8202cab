package policy

import "sync/atomic"

// Flight counts the requests that are served at once, and refuses the least urgent first when there are too many. It
// lives on when rules are replaced.
//
// What is counted is counted in shards, so that event loops do not wait for each other.
type Flight struct {
	cells [flightCells]struct {
		n atomic.Int64
		_ [56]byte // keeps them on cache lines of their own
	}
	strain atomic.Uint32 // shares of 1024 that are refused of what is not critical, see SetStrain
	turn   atomic.Uint32
}

// shares are the parts of Config.MaxInFlight, in percent, that each priority may fill.
var shares = [priorities]int64{PriorityNormal: 95, PriorityLow: 80, PriorityCritical: 100}

// flightCells are the shards, a power of two.
const flightCells = 16

// InFlight is how many requests are being served.
func (f *Flight) InFlight() int { return int(f.sum()) }

func (f *Flight) sum() (n int64) {
	for i := range f.cells {
		n += f.cells[i].n.Load()
	}
	return n
}

// maxStrain is all.
const maxStrain = 1024

// SetStrain says how much of what is not critical is to be refused, of 1024: of low priority twice as much, so that half
// of that is gone of all before any normal request is.
func (f *Flight) SetStrain(share uint32) { f.strain.Store(min(share, maxStrain)) }

// enter reports whether one more may be served; leave then ends it.
func (f *Flight) enter(shard uint32, p Priority, most int) bool {
	f.cells[shard%flightCells].n.Add(1)
	if most > 0 && f.sum() > max(1, int64(most)*shares[p]/100) || f.refuses(p) {
		f.leave(shard)
		return false
	}
	return true
}

// refuses spreads refusals evenly over requests.
func (f *Flight) refuses(p Priority) bool {
	s := f.strain.Load()
	if s == 0 || p == PriorityCritical {
		return false
	}
	switch {
	case p == PriorityLow:
		s = min(2*s, maxStrain)
	case s <= maxStrain/2:
		return false
	default:
		s = 2*s - maxStrain
	}
	t := f.turn.Add(1)
	return (t*s)%maxStrain < s
}

func (f *Flight) leave(shard uint32) { f.cells[shard%flightCells].n.Add(-1) }
