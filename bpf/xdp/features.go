package xdp

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
)

// Features are parts of the kernel that the program uses where they are there.
type Features struct {
	// Frags: packets of several buffers, as of jumbo frames. Linux 5.18.
	Frags bool
	// Cookies: SYN cookies in XDP. Linux 6.0.
	Cookies bool
	// Watch: connections seen by sockops, those there before by iter/tcp; that needs the
	// kernel's types (CONFIG_DEBUG_INFO_BTF). Linux 5.15.
	Watch bool
	// CallbackFlags: the end of connections that were there before is told by sockops too, else
	// by a tracepoint. Linux 6.12.
	CallbackFlags bool
}

// mostOneBuffer is the highest MTU at which each driver has a packet in one buffer.
const mostOneBuffer = 1500

// probe asks the kernel, and holds the answer against what cfg asks for on an interface of that
// MTU.
func probe(cfg Config, mtu int) (Features, error) {
	var f Features
	if cfg.Frags == OptionOn || cfg.Frags == OptionAuto && mtu > mostOneBuffer {
		err := features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen)
		if f.Frags = err == nil; !f.Frags && cfg.Frags == OptionOn {
			return f, fmt.Errorf("take packets of several buffers: %w: use Linux 5.18 or newer, or set xdp.frags to auto: %w", ErrKernel, err)
		}
	}
	cookies := features.HaveProgramHelper(ebpf.XDP, asm.FnTcpRawGenSyncookieIpv4)
	f.Cookies = cookies == nil && cfg.Cookies != OptionOff
	if cfg.Cookies == OptionOn && cookies != nil {
		return f, fmt.Errorf("answer SYNs in XDP: %w: use Linux 6.0 or newer, or set xdp.cookies to auto: %w", ErrKernel, cookies)
	}
	if cfg.Proof == OptionOff {
		return f, nil
	}
	_, err := btf.LoadKernelSpec()
	if err == nil {
		err = features.HaveProgramHelper(ebpf.SockOps, asm.FnGetNetnsCookie)
	}
	f.Watch = err == nil
	if cfg.Proof == OptionOn && err != nil {
		return f, fmt.Errorf("watch connections: %w: use Linux 5.15 or newer with CONFIG_DEBUG_INFO_BTF, or set xdp.proof to auto: %w", ErrKernel, err)
	}
	f.CallbackFlags = f.Watch && hasCallbackFlags()
	return f, nil
}

// hasCallbackFlags asks once: it walks all of the kernel's types.
var hasCallbackFlags = sync.OnceValue(func() bool { return hasEnumValue("TCP_BPF_SOCK_OPS_CB_FLAGS") })

// hasEnumValue reports whether the kernel's types have an enumerator of that name.
func hasEnumValue(name string) bool {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return false
	}
	for t, err := range kernel.All() {
		if err != nil {
			return false
		}
		e, ok := t.(*btf.Enum)
		if !ok {
			continue
		}
		for _, v := range e.Values {
			if v.Name == name {
				return true
			}
		}
	}
	return false
}

// errNoProof says why there is no proof though Config would have it.
var errNoProof = errors.New("connections are not watched")
