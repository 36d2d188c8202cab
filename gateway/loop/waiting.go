package loop

import "weir/gateway/upstream"

// waiting are clients whose requests wait for a conn to a server, as the loop opens as many at once as it may. The first that
// comes, a new one or one that is done with a request, is the next one's.
type waiting struct {
	clients []*client
	head    int
}

// wait has a client wait.
func (l *loop) wait(c *client, s *upstream.Server) {
	w := l.waiting[s]
	if w == nil {
		w = &waiting{}
		l.waiting[s] = w
	}
	w.clients = append(w.clients, c)
}

// nextWaiting is the client that waits for a server the longest, nil if none does.
func (l *loop) nextWaiting(s *upstream.Server) *client {
	w := l.waiting[s]
	if w == nil {
		return nil
	}
	for w.head < len(w.clients) {
		c := w.clients[w.head]
		w.clients[w.head] = nil
		w.head++
		if c.state == stateDialing && c.ex != nil && c.ex.server == s && c.ex.conn == nil {
			return c
		}
	}
	delete(l.waiting, s)
	return nil
}

// dialNext opens a conn for a client that waits, if there is one: of the server that one was opened to, else of any.
func (l *loop) dialNext(s *upstream.Server) {
	for l.dialing < maxDialing {
		c := l.nextWaiting(s)
		if c == nil {
			for s = range l.waiting {
				if c = l.nextWaiting(s); c != nil {
					break
				}
			}
		}
		if c == nil {
			return
		}
		if o := l.takeIdle(s); o != nil {
			c.take(o)
			continue
		}
		l.dial(c, c.ex, s)
	}
}

// take gives the client's request to a conn.
func (c *client) take(o *origin) {
	o.client, c.ex.conn = c, o
	c.send(o)
}
