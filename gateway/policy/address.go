package policy

import (
	"net/netip"
	"strings"
)

// maxHops bounds how many addresses of a forwarding header are looked at.
const maxHops = 32

// clientAddress is who sent the request: the conn's peer, or, if that is a trusted proxy, who it says it forwards for.
func (r *Rules) clientAddress(q *Request) netip.Addr {
	client := q.Peer.Unmap().WithZone("")
	if !r.trusts(client) {
		return client
	}
	hops := 0
	for i := lastAt(q.Fields, r.cfg.ForwardedField); i >= 0; i-- {
		list, _ := q.Fields.At(r.cfg.ForwardedField, i)
		for list != "" {
			cut := strings.LastIndexByte(list, ',') + 1
			a, ok := parseHop(list[cut:])
			if hops++; !ok || hops > maxHops {
				return client // what is behind this nobody vouches for
			}
			if client = a; !r.trusts(client) {
				return client
			}
			list = list[:max(cut-1, 0)]
		}
	}
	return client
}

func (r *Rules) trusts(a netip.Addr) bool {
	for _, p := range r.cfg.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// TrustsProxy reports whether what an address says of who it forwards for is believed.
func (r *Rules) TrustsProxy(a netip.Addr) bool { return r.trusts(a.Unmap().WithZone("")) }

// lastAt is the index of the last field of a name, -1 for none.
func lastAt(f Fields, name string) int {
	for i := 0; ; i++ {
		if _, ok := f.At(name, i); !ok {
			return i - 1
		}
	}
}

// parseHop reads an address as proxies write it: bare, with a port, or in brackets.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			if a, err := netip.ParseAddr(inner); err == nil {
				return a.Unmap().WithZone(""), true
			}
		}
	}
	return netip.Addr{}, false
}
