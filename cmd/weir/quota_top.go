package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"weir/gateway/access"
	"weir/gateway/policy"
	"weir/ratelimit/heavy"
)

// Kinds of clients, the first byte of their names in a heavy.Top: an address and an identity may be the same text.
const (
	topAddress  = 'a'
	topIdentity = 'i'
)

// gatewayTop ranks the clients of a gateway.
type gatewayTop struct {
	top     *heavy.Top
	gathers [16]*heavy.Gather // by the shard of the record: an event loop's is its own, while there are not more
}

func newGatewayTop(now time.Time) (*gatewayTop, error) {
	top, err := heavy.New(heavy.Config{}, now)
	if err != nil {
		return nil, err
	}
	g := &gatewayTop{top: top}
	for i := range g.gathers {
		g.gathers[i] = top.Gather()
	}
	return g, nil
}

// observe counts a request that has ended. It allocates nothing for a client that is known.
func (g *gatewayTop) observe(r *access.Record) {
	var scratch [1 + heavy.MaxNameBytes]byte
	name := append(scratch[:0], topAddress)
	if r.Identity != "" {
		name = append(append(name[:0], topIdentity), r.Identity...)
	} else {
		name = r.Client.AppendTo(name)
	}
	limited := uint64(0)
	if r.Outcome == policy.Limited {
		limited = 1
	}
	g.gathers[int(r.Shard)%len(g.gathers)].Add(r.Begun.Add(r.Total), name, heavy.Use{
		Limited: limited, Bytes: uint64(max(r.Received, 0)) + uint64(max(r.Sent, 0)), Upstream: r.Upstream, //nolint:gosec // not below 0
	})
}

// gatewayRanking is clients of a gateway by what they cost since a time. A client that is not listed cost less than the last, or
// Bound at most if there is room for more; no number is too high by more than it.
type gatewayRanking struct {
	By      string          `json:"by"`
	Since   time.Time       `json:"since"`
	Total   float64         `json:"total"`
	Bound   float64         `json:"bound"`
	Clients []gatewayClient `json:"clients"`
}

// gatewayClient is one of them: Client or Identity, whichever it is known by. Value is what it is ranked by, too high by Over at
// most; the others are never too high.
type gatewayClient struct {
	Client   string  `json:"client,omitempty"`
	Identity string  `json:"identity,omitempty"`
	Value    float64 `json:"value"`
	Over     float64 `json:"over"`
	Requests uint64  `json:"requests"`
	Limited  uint64  `json:"limited"`
	Bytes    uint64  `json:"bytes"`
	Seconds  float64 `json:"upstream_seconds"`
}

// ranking is the first n clients by requests, limited, bytes or seconds.
func (g *gatewayTop) ranking(now time.Time, by string, n int) (*gatewayRanking, error) {
	rank, err := heavy.ParseBy(by)
	if err != nil {
		return nil, fmt.Errorf("by: %w", err)
	}
	value := func(n uint64) float64 { return float64(n) }
	if rank == heavy.ByUpstream {
		value = func(n uint64) float64 { return float64(n) / float64(time.Second) }
	}
	for _, gather := range g.gathers {
		gather.Flush()
	}
	from := g.top.Top(now, rank, n)
	out := &gatewayRanking{By: by, Since: from.From.UTC(), Total: value(from.Total), Bound: value(from.Bound), Clients: []gatewayClient{}}
	for _, c := range from.Clients {
		one := gatewayClient{
			Value: value(c.Count), Over: value(c.Over), Requests: c.Requests, Limited: c.Limited, Bytes: c.Bytes, Seconds: c.Upstream.Seconds(),
		}
		if kind, name := c.Name[0], c.Name[1:]; kind == topIdentity {
			one.Identity = name
		} else {
			one.Client = name
		}
		out.Clients = append(out.Clients, one)
	}
	return out, nil
}

// Top implements [admin.Gateway].
func (n *gatewayNode) Top(by string, count int) (any, error) {
	return n.top.ranking(time.Now(), by, count)
}

// isGatewayRank reports whether a gateway ranks by it, and not XDP.
func isGatewayRank(by string) bool {
	_, err := heavy.ParseBy(by)
	return err == nil
}

// ofGateway ranks the clients of a gateway.
func (c *quotaTopCmd) ofGateway(ctx context.Context, a *app) error {
	by := c.By
	if by == "" {
		by = heavy.ByLimited.String()
	}
	var top gatewayRanking
	if shown, err := c.show(ctx, a, "/api/gateway/top?by="+by+"&n="+strconv.Itoa(c.N), c.JSON, &top); shown || err != nil {
		return err
	}
	return top.print(a.stdout, c.N)
}

func (r *gatewayRanking) print(out io.Writer, asked int) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	if r.By == heavy.ByUpstream.String() {
		number = func(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }
	}
	fmt.Fprintf(w, "CLIENT\tBY %s\tSHARE\tREQUESTS\tLIMITED\tBYTES\tUPSTREAM SECONDS\n", r.By)
	for _, c := range r.Clients {
		name := c.Client
		if c.Identity != "" {
			name = strconv.Quote(c.Identity) // whoever issues identities may let users choose them
		}
		value := number(c.Value)
		if c.Over > 0 {
			value += ", " + number(c.Over) + " too high at most"
		}
		fmt.Fprintf(w, "%s\t%s\t%.1f %%\t%d\t%d\t%d\t%.3f\n", name, value, 100*c.Value/max(r.Total, 1e-9), c.Requests, c.Limited, c.Bytes, c.Seconds)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s of all clients since %s; who is not listed has %s at most\n", number(r.Total), r.Since.Format(dayAndTime), number(r.most(asked)))
	return err
}

// most bounds what a client that is not listed has, of so many that were asked for.
func (r *gatewayRanking) most(asked int) float64 {
	if n := len(r.Clients); n > 0 && n >= asked {
		return max(r.Bound, r.Clients[n-1].Value)
	}
	return r.Bound
}
