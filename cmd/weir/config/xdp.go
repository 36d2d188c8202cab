package config

import (
	"errors"
	"fmt"
)

// validate reports what is wrong with the section in itself. Rates are ratelimit's to judge.
func (x XDP) validate() error {
	var errs []error
	bad := func(key string, value any, want string) {
		errs = append(errs, fmt.Errorf("xdp.%s is %v: want %s", key, value, want))
	}
	if x.Interface == "" && x.Enabled != "off" {
		bad("interface", `""`, "the name of a network interface (ip link)")
	}
	if x.Slots < 1024 || x.Slots > 1<<24 || x.Slots&(x.Slots-1) != 0 {
		bad("slots", x.Slots, "a power of two, 1024 to 16777216")
	}
	if x.IPv4Prefix < 8 || x.IPv4Prefix > 32 {
		bad("ipv4_prefix", x.IPv4Prefix, "8 to 32")
	}
	if x.IPv6Prefix < 16 || x.IPv6Prefix > 128 {
		bad("ipv6_prefix", x.IPv6Prefix, "16 to 128")
	}
	if x.Burst < 1 || x.Burst > 100_000_000 {
		bad("burst", x.Burst, "1 to 100000000")
	}
	if x.Concurrent < 0 || x.Concurrent > 65535 {
		bad("concurrent", x.Concurrent, "0 (no quota) to 65535")
	}
	return errors.Join(errs...)
}
