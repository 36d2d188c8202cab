package loop

import (
	"context"
	"net"
	"net/netip"
	"time"

	"weir/gateway/policy"
	"weir/gateway/way"
)

// Config configures a [Server]. All of it has to be set.
type Config struct {
	// Listen is the TCP address, host:port; its port is not 0.
	Listen string
	// Loops is the number of event loops.
	Loops int
	// MaxHeadBytes and MaxFields bound a head.
	MaxHeadBytes, MaxFields int
	// HeadTimeout bounds the time until a head is whole, KeepAlive that between two requests, DrainTimeout that in which
	// requests end at shutdown.
	HeadTimeout, KeepAlive, DrainTimeout time.Duration
	// IdentityField tells upstreams who a request is from.
	IdentityField string
}

// Deps are what a Server is joined to.
type Deps struct {
	Hooks way.Hooks
	// Admit counts a conn of an address and says whether it may come in; Release is called once for each that may.
	Admit   func(client netip.Addr) bool
	Release func(client netip.Addr)
	// Proxied says of whose conns a PROXY header is to be read first: they are declined.
	Proxied func(peer netip.Addr) bool
	// Decline takes over a conn that a loop does not serve, with what was read of it. It was admitted, unless proxied says that it
	// has not been asked. Called by a loop: it must not wait.
	Decline func(c net.Conn, read []byte, proxied bool)
	// Ticks is the clock of the rules at a time.
	Ticks func(at time.Time) uint64
	// Malformed has the answer's body for a head that is refused, and is told of it.
	Malformed func(client netip.Addr, status int, why error)
}

// Bounds of what a loop holds.
const (
	// highWater is how much may wait to be written to one side before the other is not read, lowWater what it is to sink to
	// before that is again; bytes.
	highWater, lowWater = 256 << 10, 64 << 10
	// maxAnswerHead bounds the head of an answer, bytes, and maxAnswerFields its fields.
	maxAnswerHead, maxAnswerFields = 64 << 10, 200
	// maxSkip is how much of the body of a request that was refused is read so that the conn may go on; bytes.
	maxSkip = 256 << 10
	// maxAsking bounds the requests of a loop that wait for the shared store at once, each with a goroutine.
	maxAsking = 1024
	// maxChecking bounds those of them whose token is checked first: past it they are shed, as a CPU is what they need.
	maxChecking = 64
	// maxDialing bounds the conns that a loop opens at once, each with a goroutine; past it requests wait, for one of them or for
	// one that is done.
	maxDialing = 64
	// linger is how long a conn that is closed with an answer may take to read it.
	linger = time.Second
	// maxStalls is how often in a row it may have taken nothing of it meanwhile.
	maxStalls = 30
	// look is how often it is looked whether a buffer has drained.
	look = time.Millisecond
)

// askPatience bounds how long the shared store is asked; the store's own bound is shorter.
const askPatience = 2 * time.Second

// ask has the shared store decide.
func ask(x *policy.Exchange) policy.Outcome {
	ctx, cancel := context.WithTimeout(context.Background(), askPatience)
	defer cancel()
	return x.Ask(ctx)
}
