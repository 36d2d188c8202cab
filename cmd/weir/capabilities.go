package main

import "log/slog"

// giveUp drops capabilities in all threads, for good. What cannot be dropped stays, as all did before: it is no error to serve with.
func giveUp(log *slog.Logger, caps []capability) {
	if err := dropCapabilities(caps); err != nil {
		log.Info("capabilities that only the start needed are kept", "err", err)
	}
}

// onceStarted are the capabilities that a process needs no more once it serves. What loads programs may be needed again if a takeover
// fails, after which this process loads them anew; of an edge that nobody can take over from, and of a gateway, it is not. Quotas need
// CAP_BPF and CAP_NET_ADMIN as long as there are any: a policy brings new maps, an interface that comes back a new link. Tracers are opened
// again after a rest, or for another process.
func onceStarted(takeover, quotas, traces bool) []capability {
	switch {
	case takeover:
		return nil
	case traces:
		return []capability{capNetBindService}
	case quotas:
		return []capability{capPerfmon, capNetBindService}
	}
	return []capability{capPerfmon, capNetBindService, capBPF}
}

// capability is one of linux/capability.h.
type capability uint

// Those that weir needs.
const (
	capNetBindService capability = 10
	capPerfmon        capability = 38
	capBPF            capability = 39
)
