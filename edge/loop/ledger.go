package loop

import "weir/edge/hub"

// The ledger: what clients that do not read have the node hold. A conn that has drained holds nothing
// here, and what it has on its way in the kernel is gone with the next acknowledgement; so the conns of
// subscriptions that are behind are counted, every tick: the bytes that wait in this process and
// those in the socket's send queue.

// overdraft is what a loop is to give up of what it holds, by the part it has of all: its conns that
// have been behind the longest are closed until it is gone.
func overdraft(own, all, bound int64) int64 {
	if all <= bound || all == 0 {
		return 0
	}
	return own - own*bound/all
}

// balance counts what this loop holds, and gives up what is over the node's bound.
func (l *loop) balance() {
	var process, kernel int64
	if l.shard.Behind() > 0 {
		l.shard.EachBehind(func(hc hub.Conn) bool {
			if c := hc.(*conn); c.counted != l.wheel.now { //nolint:forcetypeassert // there are no others
				c.counted = l.wheel.now
				process += int64(c.gc.OutboundBuffered())
				kernel += int64(sendQueue(c.gc.Fd()))
			}
			return true
		})
	}
	l.stats.heldProcess.Store(process)
	l.stats.heldKernel.Store(kernel)
	over := overdraft(process+kernel, l.server.held(), int64(l.cfg.MaxHeldBytes))
	if over == 0 {
		return
	}
	var closing []*conn
	l.shard.EachBehind(func(hc hub.Conn) bool {
		c := hc.(*conn)               //nolint:forcetypeassert // there are no others
		if c.counted == l.wheel.now { // once each
			c.counted--
			over -= int64(c.gc.OutboundBuffered() + sendQueue(c.gc.Fd()))
			closing = append(closing, c)
		}
		return over > 0
	})
	for _, c := range closing {
		c.abort(ReasonSlowConsumer) // what it is sent it would not read
	}
}

// held is what all loops held when each looked last.
func (s *Server) held() (bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		bytes += l.stats.heldProcess.Load() + l.stats.heldKernel.Load()
	}
	return bytes
}
