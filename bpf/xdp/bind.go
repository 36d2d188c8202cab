package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/cilium/ebpf"
)

// bindCall is what the kernel reads in a call about a binding. It is taken from a pool: it would be
// allocated each time, as it goes through an interface.
type bindCall struct {
	key   weirTuple
	value weirBinding
}

var bindCalls = sync.Pool{New: func() any { return new(bindCall) }}

// nameBytes is how much of an identity's name its slot has.
const nameBytes = 16

// Bind has the packets of an established TCP connection, from local to remote as the kernel's sockets have
// them, charged to an identity under a class's quotas, and no longer to the remote address. The connection
// stays one of its address in what that may open and hold. Bound again, it is another identity's. The class
// is one of the policy by [Class.Name], and is looked up anew whenever the policy changes; the default one if
// the policy has none of that name. The identity's name is kept in memory of the kernel's and shown to
// operators: it is no secret, such as an API key, but its name or digest.
//
// It is for event loops: a call to the kernel, which waits for nothing, and no allocation. An error that wraps
// [ErrFull] says that there is no room: the connection stays its address's. The end of a connection takes its
// binding off, where connections are watched; else [Program.Unbind] alone does.
func (p *Program) Bind(local, remote netip.AddrPort, identity, class string) error {
	if identity == "" {
		return errors.New("bind a connection: it has no identity")
	}
	p.use.RLock()
	defer p.use.RUnlock()
	if p.gone {
		return fmt.Errorf("bind a connection: xdp_weir: %w", os.ErrClosed)
	}
	label, err := p.label(class)
	if err != nil {
		p.bindsRefused.Add(1)
		return err
	}
	c := bindCalls.Get().(*bindCall)
	defer bindCalls.Put(c)
	c.key.of(local, remote)
	c.value = weirBinding{Key: p.identityKey(identity), Label: label}
	var name [nameBytes]byte
	copy(name[:], identity)
	c.value.Name.Hi, c.value.Name.Lo = halves(name)
	err = p.objs.Bindings.Update(&c.key, &c.value, ebpf.UpdateNoExist)
	switch {
	case err == nil:
		p.bound.Add(1)
	case errors.Is(err, ebpf.ErrKeyExist):
		err = p.objs.Bindings.Update(&c.key, &c.value, ebpf.UpdateAny)
	}
	if err != nil {
		p.bindsRefused.Add(1)
		return fmt.Errorf("bind %v: %w", remote, fullError(err, "raise xdp.bindings"))
	}
	return p.tell(policyBound)
}

// Unbind has a connection's packets charged to its address again. It is no error if they are. It is for event
// loops, as [Program.Bind].
func (p *Program) Unbind(local, remote netip.AddrPort) error {
	p.use.RLock()
	defer p.use.RUnlock()
	if p.gone {
		return fmt.Errorf("unbind a connection: xdp_weir: %w", os.ErrClosed)
	}
	c := bindCalls.Get().(*bindCall)
	defer bindCalls.Put(c)
	c.key.of(local, remote)
	err := p.objs.Bindings.Delete(&c.key)
	if err == nil {
		p.bound.Add(-1)
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("unbind %v: %w", remote, err)
	}
	return nil
}

// of is a connection's key.
func (t *weirTuple) of(local, remote netip.AddrPort) {
	*t = weirTuple{RemotePort: remote.Port(), LocalPort: local.Port()}
	t.Remote.Hi, t.Remote.Lo = halves(remote.Addr().As16())
	t.Local.Hi, t.Local.Lo = halves(local.Addr().As16())
}

// ends are those of a key.
func (t *weirTuple) ends() (local, remote netip.AddrPort) {
	return netip.AddrPortFrom(addrOf(t.Local.Hi, t.Local.Lo), t.LocalPort), netip.AddrPortFrom(addrOf(t.Remote.Hi, t.Remote.Lo), t.RemotePort)
}

func addrOf(hi, lo uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return netip.AddrFrom16(b).Unmap()
}

func (p *Program) identityKey(identity string) uint64 { return keyedHash(p.seed, identity) | takenBit }

// fullError is the error of a map's update, in words.
func fullError(err error, mend string) error {
	if errors.Is(err, syscall.E2BIG) || errors.Is(err, syscall.ENOMEM) {
		return fmt.Errorf("%w: %s: %w", ErrFull, mend, err)
	}
	return err
}

// Binding is a connection that is charged to an identity.
type Binding struct {
	Local, Remote netip.AddrPort
	// Name is the identity's: its first 16 bytes.
	Name string
	// Class is an index of Policy.Classes: what its class is under the policy that holds.
	Class int
	// Key is that of the identity's slot and escalation.
	Key uint64
}

// Bound are the bindings of a client, at most so many: an identity's, or those that come from a prefix; and
// how many there are. It reads all bindings: it is not for event loops.
func (p *Program) Bound(of ClientName, most int) (some []Binding, all int, err error) {
	p.use.RLock()
	defer p.use.RUnlock()
	if p.gone {
		return nil, 0, fmt.Errorf("read the bindings: xdp_weir: %w", os.ErrClosed)
	}
	key, classes := p.identityKey(of.Identity), p.labelClasses()
	err = eachEntry(p.objs.Bindings, func(t *weirTuple, b *weirBinding) {
		local, remote := t.ends()
		if of.Identity != "" && b.Key != key || of.Identity == "" && !of.Prefix.Contains(remote.Addr()) {
			return
		}
		if all++; len(some) < most {
			var name [nameBytes]byte
			binary.BigEndian.PutUint64(name[:], b.Name.Hi)
			binary.BigEndian.PutUint64(name[8:], b.Name.Lo)
			some = append(some, Binding{local, remote, text(name[:]), int(classes[b.Label%maxLabels]), b.Key})
		}
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read the bindings: %w", err)
	}
	return some, all, nil
}

// text is what comes before the zeros.
func text(b []byte) string { return strings.TrimRight(string(b), "\x00") }

// readBatch is how many entries of a hash are read by one call.
const readBatch = 512

// eachEntry calls f for each entry of a hash, which goes on to change meanwhile: those that come or go may be
// missing or not. What f is given is lent until it returns.
func eachEntry[K, V any](m *ebpf.Map, f func(*K, *V)) error {
	keys, values := make([]K, readBatch), make([]V, readBatch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			f(&keys[i], &values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) { // which says that it was the last batch
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// countBindings finds out how many there are that an earlier program left. Where nobody watches connections
// it takes them off: their ends were not seen.
func (p *Program) countBindings() error {
	if !p.adopted {
		return nil
	}
	var all []weirTuple
	n := int64(0)
	err := eachEntry(p.objs.Bindings, func(t *weirTuple, _ *weirBinding) {
		n++
		if p.proofless {
			all = append(all, *t)
		}
	})
	for i := range all {
		if gone := p.objs.Bindings.Delete(&all[i]); gone == nil {
			n--
		}
	}
	if err != nil {
		return fmt.Errorf("count the bindings of the pinned state: %w", err)
	}
	p.bound.Store(n)
	p.unbound, err = p.unboundSoFar()
	return err
}

// unboundSoFar is how many bindings the programs took off.
func (p *Program) unboundSoFar() (n int64, err error) {
	events, err := readAll[uint64](p.objs.Events)
	if err != nil {
		return 0, fmt.Errorf("count the bindings: %w", err)
	}
	for _, each := range events[weirEventEVENT_UNBOUND] {
		n += int64(each) //nolint:gosec // a count
	}
	return n, nil
}
