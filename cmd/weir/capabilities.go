package main

import "log/slog"

// later is what a process may have to do once it serves that takes capabilities.
type later struct {
	// takesBack: it gives its ports up for a takeover, and takes them back if that fails.
	takesBack bool
	// quotas: a policy brings new maps, an interface that comes back a new link. Programs are loaded once: those of a takeover that
	// fails are kept.
	quotas bool
	// traces: tracers are loaded again after a rest, or for another process.
	traces bool
	// workers: one that has ended is started again, with the capabilities of this process, and its listeners are put into a map.
	workers bool
}

// needless are the capabilities that it does not take.
func (l later) needless() (caps []capability) {
	if !l.traces {
		caps = append(caps, capPerfmon)
	}
	if !l.takesBack && !l.workers {
		caps = append(caps, capNetBindService)
	}
	if !l.quotas && !l.traces && !l.workers {
		caps = append(caps, capBPF)
	}
	return caps
}

// giveUp drops capabilities in all threads, for good, once a process serves. What cannot be dropped stays, as all did before: it is
// no error to serve with.
func giveUp(log *slog.Logger, l later) {
	if err := dropCapabilities(l.needless()); err != nil {
		log.Info("capabilities that only the start needed are kept", "err", err)
	}
	if l.traces {
		log.Info("capabilities that tracers are loaded with are kept, for after a rest")
	}
}

// capability is one of linux/capability.h.
type capability uint

// Those that weir needs.
const (
	capNetBindService capability = 10
	capPerfmon        capability = 38
	capBPF            capability = 39
)
