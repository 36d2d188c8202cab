package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Bits of an address that tell clients apart, unless a policy says otherwise.
const (
	DefaultIPv4Bits = 32
	DefaultIPv6Bits = 64
)

// maxPartBytes bounds what a part of a key is of what a client sent: of more there is its SHA-256 sum.
const maxPartBytes = 64

// KeyKind is what a part of a key is of.
type KeyKind uint8

// The kinds of parts.
const (
	KeyAddress  KeyKind = iota // the client's address, cut to a prefix
	KeyIdentity                // the consumer, or the token's subject
	KeyField                   // a field of the request, such as User-Agent
	KeyClaim                   // a claim of the token
	KeyRoute                   // the route
	KeyGlobal                  // nothing: all clients together
)

// KeyPart is a part of a key.
type KeyPart struct {
	Kind KeyKind
	// Name is of the field, in its canonical form, or of the claim.
	Name string
	// IPv4Bits and IPv6Bits are how many bits of an address count.
	IPv4Bits, IPv6Bits uint8
}

// Missing is what becomes of a request that lacks a part of a policy's key.
type Missing uint8

// The ways.
const (
	// MissingAddress charges its address instead: who leaves out a header has one quota with all who do so there.
	MissingAddress Missing = iota
	// MissingSkip has the policy not hold for it.
	MissingSkip
	// MissingRefuse refuses it.
	MissingRefuse
)

// ParseKeyPart reads address, address/24/56, identity, route, global, header:NAME or claim:NAME.
func ParseKeyPart(text string) (KeyPart, error) {
	kind, name, named := strings.Cut(text, ":")
	switch {
	case named && kind == "header":
		if !isToken(name) {
			return KeyPart{}, fmt.Errorf("is %q: want header:NAME, such as header:User-Agent", text)
		}
		return KeyPart{Kind: KeyField, Name: http.CanonicalHeaderKey(name)}, nil
	case named && kind == "claim":
		if name == "" || len(name) > maxPartBytes {
			return KeyPart{}, fmt.Errorf("is %q: want claim:NAME, such as claim:tenant", text)
		}
		return KeyPart{Kind: KeyClaim, Name: name}, nil
	case text == "identity":
		return KeyPart{Kind: KeyIdentity}, nil
	case text == "route":
		return KeyPart{Kind: KeyRoute}, nil
	case text == "global":
		return KeyPart{Kind: KeyGlobal}, nil
	}
	p := KeyPart{Kind: KeyAddress, IPv4Bits: DefaultIPv4Bits, IPv6Bits: DefaultIPv6Bits}
	bits := strings.Split(text, "/")
	if bits[0] == "address" && len(bits) <= 3 {
		for i, b := range bits[1:] {
			at, most := &p.IPv4Bits, 32
			if i == 1 {
				at, most = &p.IPv6Bits, 128
			}
			n, err := strconv.Atoi(b)
			if err != nil || n < 1 || n > most {
				return KeyPart{}, fmt.Errorf("is %q: want address, or address/24/56: bits of IPv4 (1 to 32) and of IPv6 (1 to 128)", text)
			}
			*at = uint8(n) //nolint:gosec // checked above
		}
		return p, nil
	}
	return KeyPart{}, fmt.Errorf("is %q: want address, address/24/56, identity, route, global, header:NAME or claim:NAME", text)
}

// String is the part as ParseKeyPart reads it.
func (p KeyPart) String() string {
	switch p.Kind {
	case KeyIdentity:
		return "identity"
	case KeyField:
		return "header:" + p.Name
	case KeyClaim:
		return "claim:" + p.Name
	case KeyRoute:
		return "route"
	case KeyGlobal:
		return "global"
	}
	if p.IPv4Bits == DefaultIPv4Bits && p.IPv6Bits == DefaultIPv6Bits {
		return "address"
	}
	return fmt.Sprintf("address/%d/%d", p.IPv4Bits, p.IPv6Bits)
}

// appendTo appends the part as the request has it; ok is false if it lacks it. Each begins with its kind and
// length, so that no two keys are the same bytes.
func (p *KeyPart) appendTo(b []byte, x *Exchange) (_ []byte, ok bool) {
	switch p.Kind {
	case KeyAddress:
		return appendAddress(b, x.Client, p.IPv4Bits, p.IPv6Bits), true
	case KeyIdentity:
		return appendPart(b, p.Kind, x.Identity), x.Identity != ""
	case KeyField:
		v, ok := x.request.Fields.At(p.Name, 0)
		return appendPart(b, p.Kind, v), ok && v != ""
	case KeyClaim:
		v, ok := "", false
		if x.Claims != nil {
			v, ok = x.Claims.Value(p.Name)
		}
		return appendPart(b, p.Kind, v), ok
	case KeyRoute:
		return appendPart(b, p.Kind, x.Route.Name), true
	}
	return append(b, byte(KeyGlobal)), true
}

func appendPart(b []byte, kind KeyKind, v string) []byte {
	if len(v) > maxPartBytes {
		sum := sha256.Sum256([]byte(v))
		return append(append(b, byte(kind), 0xff), sum[:]...)
	}
	return append(append(b, byte(kind), byte(len(v))), v...)
}

func appendAddress(b []byte, a netip.Addr, bits4, bits6 uint8) []byte {
	a = a.Unmap()
	if a.Is4() {
		v := a.As4()
		n := binary.BigEndian.Uint32(v[:]) & (^uint32(0) << (32 - bits4))
		return binary.BigEndian.AppendUint32(append(b, byte(KeyAddress), 4), n)
	}
	v := a.As16()
	hi, lo := binary.BigEndian.Uint64(v[:8]), binary.BigEndian.Uint64(v[8:])
	if bits6 <= 64 {
		hi, lo = hi&(^uint64(0)<<(64-bits6)), 0
	} else {
		lo &= ^uint64(0) << (128 - bits6)
	}
	b = binary.BigEndian.AppendUint64(append(b, byte(KeyAddress), 16), hi)
	return binary.BigEndian.AppendUint64(b, lo)
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
