package xdp

import (
	"errors"
	"fmt"
	"net/netip"
)

// Mode is what the program does with its verdicts.
type Mode uint32

// The modes.
const (
	// ModeOff passes all packets without looking at them.
	ModeOff = Mode(weirModeMODE_OFF)
	// ModeShadow counts what would be dropped, and passes it.
	ModeShadow = Mode(weirModeMODE_SHADOW)
	// ModeEnforce drops.
	ModeEnforce = Mode(weirModeMODE_ENFORCE)
)

var modeNames = map[Mode]string{ModeOff: "off", ModeShadow: "shadow", ModeEnforce: "enforce"}

// String is off, shadow or enforce.
func (m Mode) String() string { return modeNames[m] }

// ParseMode reads what [Mode.String] writes.
func ParseMode(s string) (Mode, error) {
	for m, name := range modeNames {
		if s == name {
			return m, nil
		}
	}
	return 0, fmt.Errorf("mode %q: want off, shadow or enforce", s)
}

// AttachMode is where in the kernel the program runs.
type AttachMode string

// The ways to attach.
const (
	// AttachAuto tries native, then generic.
	AttachAuto AttachMode = "auto"
	// AttachNative is in the driver, before a packet costs an allocation.
	AttachNative AttachMode = "native"
	// AttachGeneric is behind the driver: it works everywhere and costs more.
	AttachGeneric AttachMode = "generic"
)

// DefaultSlots is the table's size unless Config says otherwise: 16 MiB.
const DefaultSlots = 1 << 18

// slotsPerSet mirrors SET_SLOTS of bpf/include/abi.h; the layout test holds it to that.
const slotsPerSet = 4

// Config configures [Load]. The zero value with an Interface is valid.
type Config struct {
	// Interface is the name of the network interface to guard.
	Interface string
	// Attach is how. Default AttachAuto.
	Attach AttachMode
	// Slots is the number of clients the table holds, at 64 bytes each. A power of two, 16 to
	// 1<<24, default DefaultSlots.
	Slots int
	// IPv4PrefixBits and IPv6PrefixBits say how much of an address is a client. 8 to 32,
	// default 32; 16 to 128, default 64.
	IPv4PrefixBits, IPv6PrefixBits int
}

// FieldError says which field of a Config is out of range, and what would be right.
type FieldError struct {
	Field string
	Value any
	Want  string
}

// Error is "Field is Value: want Want".
func (e *FieldError) Error() string {
	return fmt.Sprintf("xdp.%s is %v: want %s", e.Field, e.Value, e.Want)
}

// Defaults is c with every zero field at its default.
func (c Config) Defaults() Config {
	if c.Attach == "" {
		c.Attach = AttachAuto
	}
	if c.Slots == 0 {
		c.Slots = DefaultSlots
	}
	if c.IPv4PrefixBits == 0 {
		c.IPv4PrefixBits = 32
	}
	if c.IPv6PrefixBits == 0 {
		c.IPv6PrefixBits = 64
	}
	return c
}

// Validate reports every field that is out of range, joined; nil if all are fine.
func (c Config) Validate() error {
	c = c.Defaults()
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, &FieldError{field, value, want})
	}
	if c.Interface == "" {
		bad("Interface", `""`, "the name of a network interface")
	}
	if c.Attach != AttachAuto && c.Attach != AttachNative && c.Attach != AttachGeneric {
		bad("Attach", c.Attach, "auto, native or generic")
	}
	if c.Slots < 16 || c.Slots > 1<<24 || c.Slots&(c.Slots-1) != 0 {
		bad("Slots", c.Slots, "a power of two, 16 to 16777216")
	}
	if c.IPv4PrefixBits < 8 || c.IPv4PrefixBits > 32 {
		bad("IPv4PrefixBits", c.IPv4PrefixBits, "8 to 32")
	}
	if c.IPv6PrefixBits < 16 || c.IPv6PrefixBits > 128 {
		bad("IPv6PrefixBits", c.IPv6PrefixBits, "16 to 128")
	}
	return errors.Join(errs...)
}

// listed is the prefix that the lists hold for p: as wide as a client at least, since a client is
// listed whole or not at all.
func (c Config) listed(p netip.Prefix) netip.Prefix {
	width := c.IPv6PrefixBits
	switch {
	case p.Addr().Is4():
		width = c.IPv4PrefixBits
	case p.Addr().Is4In6() && p.Bits() >= 96:
		p, width = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96), c.IPv4PrefixBits
	}
	return netip.PrefixFrom(p.Addr(), min(p.Bits(), width)).Masked()
}

// familyBits is the length of struct prefix's family, which counts among its bits.
const familyBits = 32

// keyOf is a listed prefix as the lists' key.
func keyOf(p netip.Prefix) weirPrefix {
	key := weirPrefix{Bits: familyBits + uint32(p.Bits()), Family: [4]uint8{3: 6}} //nolint:gosec // 0 to 128
	if p.Addr().Is4() {
		key.Family[3] = 4
	}
	copy(key.Addr[:], p.Addr().AsSlice())
	return key
}
