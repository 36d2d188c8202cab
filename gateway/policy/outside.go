package policy

import (
	"net/netip"

	"weir/ratelimit"
)

// Policy is the policy of a name, with its defaults, and its limit: for who decides about something other than a request
// of HTTP. The limit is the shared store's if the policy is shared. ok is false if there is none of that name.
func (r *Rules) Policy(name string) (_ Policy, limit *ratelimit.Limit, ok bool) {
	c := r.policies[name]
	if c == nil {
		return Policy{}, nil, false
	}
	return c.Policy, c.limit, true
}

// AppendValue appends the part for a client of whom its value is known: the same bytes that a request with that value
// has, so that both are charged to one budget. Of an address it may be as proxies write it, with a port or not, or a prefix, of which
// the first address counts; all that are none are one client. Of KeyGlobal the value does not count.
func (p *KeyPart) AppendValue(b []byte, value string) []byte {
	switch p.Kind {
	case KeyGlobal:
		return append(b, byte(KeyGlobal))
	case KeyAddress:
		a, ok := parseHop(value)
		if !ok {
			prefix, err := netip.ParsePrefix(value)
			if err != nil {
				return append(b, byte(KeyAddress), 0)
			}
			a = prefix.Addr()
		}
		return appendAddress(b, a, p.IPv4Bits, p.IPv6Bits)
	}
	return appendPart(b, p.Kind, value)
}
