package flood

import (
	"context"
	"time"
)

// pacer says how much is due at a rate.
type pacer struct {
	perSecond float64
	last      time.Time
	owed      float64
	ticker    *time.Ticker // nil: no rate
}

func newPacer(perSecond int) *pacer {
	p := &pacer{perSecond: float64(perSecond), last: time.Now()}
	if perSecond > 0 {
		p.ticker = time.NewTicker(time.Millisecond)
	}
	return p
}

func (p *pacer) stop() {
	if p.ticker != nil {
		p.ticker.Stop()
	}
}

// due waits for the next turn and is how much to send in it, at most most; false once ctx ends.
func (p *pacer) due(ctx context.Context, most int) (n int, ok bool) {
	if p.ticker == nil {
		return most, ctx.Err() == nil
	}
	if p.owed < float64(most) {
		select {
		case <-ctx.Done():
		case <-p.ticker.C:
		}
	}
	if ctx.Err() != nil {
		return 0, false
	}
	return p.take(time.Now(), most), true
}

// take is what is due at a time.
func (p *pacer) take(now time.Time, most int) int {
	const behind = 0.1 // seconds that are made up for
	p.owed = min(p.owed+now.Sub(p.last).Seconds()*p.perSecond, max(behind*p.perSecond, 1))
	p.last = now
	n := min(int(p.owed), most)
	p.owed -= float64(n)
	return n
}
