// Package upstream knows the servers behind an API gateway and says which of them gets the next request. It sends no
// request itself: the gateway picks a server, does what it does with it, and tells how that ended.
//
// # A request
//
//	var tried upstream.Tried
//	for attempt := 1; ; attempt++ {
//		server, err := pool.Pick(time.Now(), key, &tried) // takes a slot
//		…
//		server.Done(time.Now(), outcome, latency) // gives it back, once
//		if !failed || attempt == pool.Attempts() || !pool.MayRetry(time.Now()) {
//			break
//		}
//	}
//
// Pick, Done and MayRetry may be called from any goroutine and from event loops: they do no I/O, start nothing, and
// Pick and Done allocate nothing. They read an immutable list of the servers that may be used and move atomic words
// of the server chosen. The pool's one mutex is for what is rare: an ejection, the end of one, a check that changes
// something, a new configuration, a retry. It is held for a walk over at most [MaxServers] servers; a Pick that finds
// it held goes by the list there is.
//
// # Who may be used
//
// A server is up until active checks say otherwise ([Health]: rise, fall). What requests meet may eject it for a time
// ([Ejection]); when that is over it gets one trial, whose end decides (half-open). If more than Config.PanicPercent
// are down or ejected, something else is wrong than they: all are used again, whatever the checks say, until fewer
// are. The terms, and most defaults, are those of Envoy; rise, fall and the hash's balance factor are HAProxy's.
//
// # Time
//
// The clock is an argument. Run alone reads it, with time.Now, and starts every goroutine: it checks and resolves.
package upstream
