package latency

import "slices"

// plus adds what another histogram has counted.
func (h *Histogram) plus(other *Histogram) {
	h.Count += other.Count
	h.Sum += other.Sum
	for i, n := range other.Buckets {
		h.Buckets[i] += n
	}
}

// total sums up what a tracer counts, over each time that it was open: it only grows.
type total struct {
	earlier, now []Histogram // by About.Histograms
	counts       struct{ earlier, now []uint64 }
	cost         struct{ earlier, now Cost }
	programs     []Program // as they were last seen
	programRuns  uint64
	programTime  float64 // seconds
}

func newTotal(about About) *total {
	t := &total{earlier: make([]Histogram, len(about.Histograms)), now: make([]Histogram, len(about.Histograms))}
	t.counts.earlier, t.counts.now = make([]uint64, len(about.Counters)), make([]uint64, len(about.Counters))
	return t
}

// see takes in what a tracer has counted since it was opened.
func (t *total) see(s *Snapshot, cost Cost) {
	copy(t.now, s.Histograms)
	for i := range min(len(s.Counters), len(t.counts.now)) {
		t.counts.now[i] = s.Counters[i].Count
	}
	t.cost.now = cost
	for _, p := range s.Programs {
		before := Program{}
		if i := slices.IndexFunc(t.programs, func(b Program) bool { return b.ID == p.ID && b.Runs <= p.Runs && b.Time <= p.Time }); i >= 0 {
			before = t.programs[i]
		}
		t.programRuns += p.Runs - before.Runs
		t.programTime += (p.Time - before.Time).Seconds()
	}
	if len(s.Programs) > 0 {
		t.programs = append(t.programs[:0], s.Programs...)
	}
}

// close has what comes next counted beside what was: the tracer was closed.
func (t *total) close() {
	for i := range t.now {
		t.earlier[i].plus(&t.now[i])
		t.now[i] = Histogram{}
	}
	for i := range t.counts.now {
		t.counts.earlier[i] += t.counts.now[i]
		t.counts.now[i] = 0
	}
	t.cost.earlier.Runs += t.cost.now.Runs
	t.cost.earlier.Time += t.cost.now.Time
	t.cost.now = Cost{}
}

// histogram is the i-th, of all times.
func (t *total) histogram(i int) Histogram {
	h := t.earlier[i]
	h.plus(&t.now[i])
	return h
}

func (t *total) count(i int) uint64 { return t.counts.earlier[i] + t.counts.now[i] }

func (t *total) runs() uint64 { return t.cost.earlier.Runs + t.cost.now.Runs }

// seconds is what the tracer took.
func (t *total) seconds() float64 { return (t.cost.earlier.Time + t.cost.now.Time).Seconds() }
