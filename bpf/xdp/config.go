package xdp

import (
	"errors"
	"fmt"
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
	// ModeUnderAttack drops, answers every SYN of an unproved source with a cookie, and drops
	// what else of TCP such a source sends.
	ModeUnderAttack = Mode(weirModeMODE_UNDER_ATTACK)
)

var modeNames = map[Mode]string{ModeOff: "off", ModeShadow: "shadow", ModeEnforce: "enforce", ModeUnderAttack: "under-attack"}

// String is off, shadow, enforce or under-attack.
func (m Mode) String() string { return modeNames[m] }

func (m Mode) validate() error {
	if _, ok := modeNames[m]; !ok {
		return fmt.Errorf("mode %d: want off, shadow, enforce or under-attack", m)
	}
	return nil
}

// ParseMode reads what [Mode.String] writes.
func ParseMode(s string) (Mode, error) {
	for m, name := range modeNames {
		if s == name {
			return m, nil
		}
	}
	return 0, fmt.Errorf("mode %q: want off, shadow, enforce or under-attack", s)
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

// Clock is the program's clock.
type Clock string

// The clocks.
const (
	// ClockPrecise is to the nanosecond, and half of a packet's cost.
	ClockPrecise Clock = "precise"
	// ClockCoarse steps by a tick of the kernel, 1 to 10 ms: a quota is exact to what its rate
	// gives in one.
	ClockCoarse Clock = "coarse"
)

// Option says whether a part of the kernel's is to be used.
type Option string

// The options.
const (
	// OptionAuto uses it where the kernel has it.
	OptionAuto Option = "auto"
	// OptionOn makes its lack an error.
	OptionOn Option = "on"
	// OptionOff does without.
	OptionOff Option = "off"
)

func (o Option) valid() bool { return o == OptionAuto || o == OptionOn || o == OptionOff }

const (
	// DefaultSlots is the table's size unless Config says otherwise: 96 MiB.
	DefaultSlots = 1 << 20
	// SlotBytes is a client's share of a set: its state, its key, its address.
	SlotBytes = setBytes / slotsPerSet
	// The widest prefixes that may be a client.
	leastIPv4Bits, leastIPv6Bits = 8, 16
	// DefaultPinDir is where state is kept across restarts, in a directory for each interface.
	DefaultPinDir = "/sys/fs/bpf/weir"
)

// Layout of bpf/include/abi.h, held to it by a test.
const (
	slotsPerSet  = 4
	setBytes     = 384
	generations  = 2
	maxClasses   = 64
	slotAllowed  = 0x1
	slotDenied   = 0x2
	slotIdentity = 0xff
	maxLabels    = 1024
	refusesNew   = 0x1
	policyBytes  = 32
	maxIdentity  = 128
	slotsForAll  = 0x1
	oneSlotV4    = 0x2
	oneSlotV6    = 0x4
	coarseClass  = 0x8
	listedV4     = 0x1
	listedV6     = 0x2
	policyBound  = 0x4

	policyEscalated = 0x8
	takenBit        = 1 << 63
	heldOpenMask    = 0xffffff
	heldHalfMask    = 0xffff
	heldNowShift    = 24
	heldPrevShift   = 40
)

// Config configures [Load]. The zero value with an Interface is valid.
type Config struct {
	// Interface is the name of the network interface to guard.
	Interface string
	// Attach is how. Default AttachAuto.
	Attach AttachMode
	// Slots is the number of clients the table holds, at SlotBytes each. A power of two, 16 to
	// 1<<24, default DefaultSlots.
	Slots int
	// IPv4PrefixBits and IPv6PrefixBits say how much of an address has a slot of its own: the
	// narrowest that a class's client may be. 8 to 32, default 32; 16 to 128, default 64.
	IPv4PrefixBits, IPv6PrefixBits int
	// Bindings is how many connections may be charged to an identity, at 128 bytes each while they are, and
	// 16 each in any case. 16 to 1<<24, default Slots, 1<<18 at most.
	Bindings int
	// Escalations is how many clients may be escalated, at 304 bytes each while they are. 16 to 1<<20, default
	// 16,384.
	Escalations int
	// Clock is the program's. Default ClockPrecise.
	Clock Clock
	// Cookies says whether SYNs over their budget are answered in XDP. Default OptionAuto.
	Cookies Option
	// Frags says whether packets of several buffers are taken, which a driver may have where
	// the interface's MTU is above 1500; they cost each packet a call. OptionAuto goes by the MTU
	// at Load: above that the kernel refuses to raise it afterwards. Default OptionAuto.
	Frags Option
	// Proof says whether connections are watched, so that those who completed a handshake get
	// exact slots, and their connections are counted. Without it every source gets a slot.
	// Default OptionAuto.
	Proof Option
	// Pin keeps links and maps in PinDir when the process dies: the program goes on, and the
	// next Load adopts them. PinDir is on a bpf file system, default DefaultPinDir.
	Pin    bool
	PinDir string
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
	if c.Bindings == 0 {
		c.Bindings = min(max(c.Slots, 16), 1<<18)
	}
	if c.Escalations == 0 {
		c.Escalations = 1 << 14
	}
	if c.Clock == "" {
		c.Clock = ClockPrecise
	}
	if c.Cookies == "" {
		c.Cookies = OptionAuto
	}
	if c.Frags == "" {
		c.Frags = OptionAuto
	}
	if c.Proof == "" {
		c.Proof = OptionAuto
	}
	if c.PinDir == "" {
		c.PinDir = DefaultPinDir
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
	if c.IPv4PrefixBits < leastIPv4Bits || c.IPv4PrefixBits > 32 {
		bad("IPv4PrefixBits", c.IPv4PrefixBits, "8 to 32")
	}
	if c.IPv6PrefixBits < leastIPv6Bits || c.IPv6PrefixBits > 128 {
		bad("IPv6PrefixBits", c.IPv6PrefixBits, "16 to 128")
	}
	if c.Bindings < 16 || c.Bindings > 1<<24 {
		bad("Bindings", c.Bindings, "16 to 16777216")
	}
	if c.Escalations < 16 || c.Escalations > 1<<20 {
		bad("Escalations", c.Escalations, "16 to 1048576")
	}
	if c.Clock != ClockPrecise && c.Clock != ClockCoarse {
		bad("Clock", c.Clock, "precise or coarse")
	}
	if !c.Cookies.valid() {
		bad("Cookies", c.Cookies, "auto, on or off")
	}
	if !c.Frags.valid() {
		bad("Frags", c.Frags, "auto, on or off")
	}
	if !c.Proof.valid() {
		bad("Proof", c.Proof, "auto, on or off")
	}
	return errors.Join(errs...)
}
