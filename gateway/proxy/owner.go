package proxy

import (
	"context"
	"net/netip"
	"sync"

	"weir/gateway/policy"
	"weir/gateway/way"
)

// Owner is whose a conn is, which requests on it say. A conn that is served has one, by a method Owner, and ends it when it is
// closed. The zero value is nobody.
type Owner struct {
	mu            sync.Mutex // held while the hooks are called, so that none comes after the end
	identity      string
	local, remote netip.AddrPort
	ended         bool
}

type ownerKey struct{}

// bind says whose the conn of a request is, if that is another one than before.
func (h *Handler) bind(ctx context.Context, x *policy.Exchange, local, remote netip.AddrPort) {
	o, ok := ctx.Value(ownerKey{}).(*Owner)
	if !ok || h.hooks.Bind == nil || x.Identity == "" || x.Trusted() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.identity != x.Identity && !o.ended {
		o.identity, o.local, o.remote = x.Identity, local, remote
		h.hooks.Bind(local, remote, x.Identity, x.Class())
	}
}

// End says that the conn was closed.
func (o *Owner) End(hooks *way.Hooks) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended && o.identity != "" && hooks.Unbind != nil {
		hooks.Unbind(o.local, o.remote)
	}
	o.ended = true
}
