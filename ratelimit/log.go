package ratelimit

// Log is the state of a client under AlgorithmLog: when its requests of the last window came, oldest first.
// The zero value is a client never seen.
type Log struct {
	times []uint64 // a ring of at most the limit's count, in ticks
	start int
	n     int
}

// DecideLog is [Limit.Decide] for AlgorithmLog. What is older than a window is forgotten.
func (l *Limit) DecideLog(g *Log, now, cost uint64) Decision {
	g.forget(now, l.window)
	left := l.count - min(uint64(g.n), l.count) //nolint:gosec // a length
	d := Decision{Remaining: left}
	if g.n > 0 {
		d.Reset = duration(g.at(g.n-1) + l.window - now)
	}
	switch {
	case cost > l.count:
		d.RetryAfter = Never
	case cost > left:
		// Room for cost units is there when the oldest few have gone.
		d.RetryAfter = duration(g.at(int(cost-left)-1) + l.window - now) //nolint:gosec // a count, at most MaxLogCount
	default:
		d.Allowed, d.Remaining = true, left-cost
		if cost > 0 {
			d.Reset = duration(l.window)
		}
	}
	return d
}

// ChargeLog notes requests of the limit's client at now, at most as many as there is room for.
func (l *Limit) ChargeLog(g *Log, now, cost uint64) {
	if g.n > 0 {
		now = max(now, g.at(g.n-1)) // a clock that went back
	}
	for ; cost > 0 && uint64(g.n) < l.count; cost-- { //nolint:gosec // a length
		g.push(now, int(l.count)) //nolint:gosec // at most MaxLogCount
	}
}

// Empty reports whether nothing is kept of the last window: forgetting g would lose nothing.
func (l *Limit) Empty(g *Log, now uint64) bool {
	return g.n == 0 || g.at(g.n-1)+l.window <= now
}

func (g *Log) at(i int) uint64 { return g.times[(g.start+i)%len(g.times)] }

// forget drops what came a window or more before now.
func (g *Log) forget(now, window uint64) {
	for g.n > 0 && g.at(0)+window <= now {
		g.start = (g.start + 1) % len(g.times)
		g.n--
	}
}

// push adds one; the ring grows, to bound at most.
func (g *Log) push(at uint64, bound int) {
	if g.n == len(g.times) {
		times := make([]uint64, min(max(2*g.n, 4), bound))
		for i := range g.n {
			times[i] = g.at(i)
		}
		g.times, g.start = times, 0
	}
	g.times[(g.start+g.n)%len(g.times)] = at
	g.n++
}
