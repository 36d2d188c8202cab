package traceload

import "time"

// tick is how often a thread that is not behind looks at what is due.
const tick = time.Millisecond

// pace says how many events are due, of a rate. Times are of one clock.
type pace struct {
	perSecond float64
	last      time.Time
	owed      float64
}

// behind is what is made up for, seconds: a host that cannot make them all is not asked for ever more.
const behind = 0.1

// due is how many are to be made at a time, at most most.
func (p *pace) due(now time.Time, most int) int {
	if p.perSecond == 0 {
		return most
	}
	p.owed = min(p.owed+now.Sub(p.last).Seconds()*p.perSecond, max(behind*p.perSecond, 1))
	p.last = now
	n := min(int(p.owed), most)
	p.owed -= float64(n)
	return n
}
