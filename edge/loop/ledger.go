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

// holding is what a conn holds.
type holding struct {
	c     *conn
	bytes int64
}

// balance counts what this loop holds, and gives up what is over the node's bound.
func (l *loop) balance() {
	var process, kernel int64
	all := l.holdings[:0]
	l.shard.EachBehind(func(hc hub.Conn) {
		c := hc.(*conn)               //nolint:forcetypeassert // there are no others
		if c.counted == l.wheel.now { // by another of its topics
			return
		}
		c.counted = l.wheel.now
		p, k := int64(c.outstanding()), int64(sendQueue(c.gc.Fd()))
		process, kernel = process+p, kernel+k
		all = append(all, holding{c, p + k})
	})
	l.stats.heldProcess.Store(process)
	l.stats.heldKernel.Store(kernel)
	if len(all) == 0 {
		return
	}
	over := overdraft(process+kernel, l.server.held(), int64(l.cfg.MaxHeldBytes))
	for i := 0; over > 0 && i < len(all); i++ {
		over -= all[i].bytes
		all[i].c.abort(ReasonSlowConsumer) // what it is sent it would not read
	}
	clear(all)
	l.holdings = all[:0]
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
