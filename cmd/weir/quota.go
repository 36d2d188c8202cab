package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"weir/bpf/xdp"
	"weir/cmd/weir/config"
	"weir/gateway"
	"weir/ratelimit/kernel"
)

type quotaCmd struct {
	Show    quotaShowCmd    `cmd:"" help:"Show mode, policy, counters and the busiest sources."`
	Top     quotaTopCmd     `cmd:"" help:"Rank clients by packets, drops or connections; of a gateway by requests, refusals, bytes or time."`
	Replay  quotaReplayCmd  `cmd:"" help:"Say whom a policy would have limited, from access logs."`
	Explain quotaExplainCmd `cmd:"" help:"Say what holds for an address, and why it was dropped."`
	Events  quotaEventsCmd  `cmd:"" help:"Print dropped packets as they come, or write them to a pcapng file."`
	Set     quotaSetCmd     `cmd:"" help:"Set the mode, or quotas of a class."`
	Allow   quotaAllowCmd   `cmd:"" help:"Have no quota hold for prefixes."`
	Deny    quotaDenyCmd    `cmd:"" help:"Have nothing of prefixes pass."`
	Class   quotaClassCmd   `cmd:"" help:"Put prefixes into a class."`
	Unlist  quotaUnlistCmd  `cmd:"" help:"Take prefixes off all lists."`
	Apply   quotaApplyCmd   `cmd:"" help:"Apply a whole policy, which comes back by itself unless confirmed."`
	Confirm quotaConfirmCmd `cmd:"" help:"Have the policy applied last stay."`
	Unpin   quotaUnpinCmd   `cmd:"" help:"Let pinned state of an interface go: traffic passes."`
}

// show asks for a result: as JSON it prints it and that was it, else it is read into result.
func (f *adminFlags) show(ctx context.Context, a *app, path string, asJSON bool, result any) (shown bool, err error) {
	var raw json.RawMessage
	if err := f.call(ctx, http.MethodGet, path, nil, &raw); err != nil {
		return false, err
	}
	if asJSON {
		_, err := fmt.Fprintf(a.stdout, "%s\n", raw)
		return true, err
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return false, fmt.Errorf("read the answer of %s: %w", f.Admin, err)
	}
	return false, nil
}

type quotaShowCmd struct {
	adminFlags
	JSON   bool `help:"Print JSON." name:"json"`
	Policy bool `help:"Print the policy alone, as weir quota apply takes it."`
}

// Help is printed below the flags.
func (*quotaShowCmd) Help() string {
	return `Examples:
  weir quota show
  weir quota show --policy >policy.yaml
  weir quota show --json | jq .top`
}

// Run prints the quotas of a running weir.
func (c *quotaShowCmd) Run(ctx context.Context, a *app) error {
	var q quotaShown
	if shown, err := c.show(ctx, a, "/api/quota", c.JSON, &q); shown || err != nil {
		return err
	}
	if !q.Enabled {
		_, err := fmt.Fprintf(a.stdout, "XDP is off: %s\n", q.Reason)
		return err
	}
	if c.Policy {
		_, err := io.WriteString(a.stdout, q.Policy)
		return err
	}
	return q.print(a.stdout)
}

func (q *quotaShown) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "interface\t%s (%s)\nmode\t%s\n", q.Interface, q.Attach, q.Mode)
	if q.Until != "" {
		fmt.Fprintf(w, "until\t%s, unless confirmed: weir quota confirm\n", q.Until)
	}
	fmt.Fprintf(w, "proof\t%s\nSYN cookies\t%s\npinned\t%v\n", q.Proof, q.Cookies, q.Pinned)
	fmt.Fprintf(w, "table\t%d of %d slots, %d MiB; %d times no room\n", q.Used, q.Slots, q.Bytes>>20, q.Pressure)
	if q.Queues != nil {
		fmt.Fprintf(w, "queues\t%s\n", q.Queues.Text)
	}
	fmt.Fprintf(w, "\nACTION\tREASON\tPACKETS\tBYTES\n")
	for _, n := range q.Counters {
		if n.Packets > 0 {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\n", n.Action, n.Reason, n.Packets, n.Bytes)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := printClients(out, q.Top); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s", q.Policy)
	return err
}

func printClients(out io.Writer, all []quotaClient) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "CLIENT\tCLASS\tPACKETS\tDROPPED\tCONNECTIONS\tLAST REASON\n")
	for _, c := range all {
		class := c.Class
		if c.Allowed {
			class = "allowed"
		}
		if c.Denied {
			class = "denied"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\n", c.Client, class, c.Packets, c.Dropped, c.Connections, c.LastReason)
	}
	return w.Flush()
}

type quotaTopCmd struct {
	adminFlags
	By      string `help:"packets, dropped or connections (default dropped); of a gateway requests, limited, bytes or seconds of upstreams (default limited)." default:"" enum:",packets,dropped,connections,requests,limited,bytes,seconds" placeholder:"WHAT"`
	Gateway bool   `help:"Rank the clients of a gateway, also if it has quotas in XDP."`
	N       int    `help:"How many." short:"n" default:"20"`
	JSON    bool   `help:"Print JSON." name:"json"`
}

// Help is printed below the flags.
func (*quotaTopCmd) Help() string {
	return `Examples:
  weir quota top
  weir quota top --by connections -n 100 --json
  weir quota top --gateway --by bytes

Without --gateway and --by it is of XDP, or, where that is off, of the gateway.`
}

// Run ranks clients.
func (c *quotaTopCmd) Run(ctx context.Context, a *app) error {
	var top struct {
		Top []quotaClient `json:"top"`
	}
	if c.Gateway || isGatewayRank(c.By) {
		if c.By != "" && !isGatewayRank(c.By) {
			return &usageError{fmt.Errorf("--by %s is of XDP: leave --gateway out, or rank by requests, limited, bytes or seconds", c.By)}
		}
		return c.ofGateway(ctx, a)
	}
	by := c.By
	if by == "" {
		by = "dropped"
	}
	shown, err := c.show(ctx, a, "/api/quota/top?by="+by+"&n="+strconv.Itoa(c.N), c.JSON, &top)
	if err != nil && c.By == "" && c.call(ctx, http.MethodGet, "/api/gateway", nil, &struct{}{}) == nil {
		return c.ofGateway(ctx, a) // XDP is off there
	}
	if shown || err != nil {
		return err
	}
	return printClients(a.stdout, top.Top)
}

type quotaExplainCmd struct {
	adminFlags
	Client string `arg:"" help:"Address, or whose a token or an API key is: sub=NAME."`
	JSON   bool   `help:"Print JSON." name:"json"`
}

// Help is printed below the flags.
func (*quotaExplainCmd) Help() string {
	return `Examples:
  weir quota explain 192.0.2.7
  weir quota explain 2001:db8::7 --json
  weir quota explain sub=alice --admin 127.0.0.1:8001     at the gateway, and in XDP`
}

// Run explains.
func (c *quotaExplainCmd) Run(ctx context.Context, a *app) error {
	client := url.QueryEscape(c.Client)
	var all struct {
		*kernel.Explanation
		Gateway []gateway.ShownClient `json:"gateway,omitempty"`
	}
	var told struct {
		Policies []gateway.ShownClient `json:"policies"`
	}
	_, xdpErr := c.show(ctx, a, "/api/quota/explain?client="+client, false, &all.Explanation)
	_, gatewayErr := c.show(ctx, a, "/api/gateway/explain?client="+client, false, &told)
	if xdpErr != nil && gatewayErr != nil {
		return xdpErr
	}
	all.Gateway = told.Policies
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(all)
	}
	if xdpErr == nil {
		if err := printExplanation(a.stdout, *all.Explanation); err != nil {
			return err
		}
	}
	return printGatewayExplanation(a.stdout, all.Gateway)
}

// printGatewayExplanation prints what the gateway's policies say of a client.
func printGatewayExplanation(out io.Writer, policies []gateway.ShownClient) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, p := range policies {
		if i == 0 {
			fmt.Fprintf(w, "\ngateway\tquota\tleft\tnext\tfull\troutes\n")
		}
		name := p.Policy
		if p.Shadow {
			name += " (shadow)"
		}
		left, next := strconv.FormatUint(p.Remaining, 10), p.NextIn
		switch {
		case len(p.Open) > 0:
			left, next = "?", "by "+strings.Join(p.Open, ", ")
		case p.Shared:
			left, next = "?", "shared with other gateways"
		}
		quota := strconv.FormatUint(p.Quota, 10)
		if p.Window != "" {
			quota += " in " + p.Window
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name, quota, left, next, p.FullIn, strings.Join(p.Routes, ", "))
	}
	return w.Flush()
}

func printExplanation(out io.Writer, e kernel.Explanation) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\t%s\n", e.Client, e.Text)
	fmt.Fprintf(w, "class\t%s\nproved\t%v\nmode\t%s\n", e.Class, e.Proved, e.Mode)
	if e.Listed != "" {
		fmt.Fprintf(w, "listed as\t%s\n", e.Listed)
	}
	for _, s := range e.Slots {
		fmt.Fprintf(w, "\nslot\t%s, seen %s ago\n", s.Prefix, s.SeenAgo)
		fmt.Fprintf(w, "packets\t%d, %d dropped\n", s.Packets, s.Dropped)
		if s.LastReason != "" {
			fmt.Fprintf(w, "last drop\t%s: %s\n", s.LastReason, s.LastMeans)
		}
		fmt.Fprintf(w, "connections\t%d, %d half open\n", s.Connections, s.HalfOpen)
		for _, q := range s.Quotas {
			fmt.Fprintf(w, "%s\t%s, %d left", q.Name, q.Rate, q.Left)
			if q.NextIn != "" && q.NextIn != "0s" {
				fmt.Fprintf(w, ", the next one in %s", q.NextIn)
			}
			fmt.Fprintln(w)
		}
	}
	return w.Flush()
}

type quotaSetCmd struct {
	adminFlags
	Class string   `help:"Class whose quotas are set." default:"default"`
	Force bool     `help:"Also if it cuts off who is connected by SSH."`
	Set   []string `arg:"" help:"KEY=VALUE: mode=..., or a quota of the class." name:"key=value"`
}

// Help is printed below the flags.
func (*quotaSetCmd) Help() string {
	return `Examples:
  weir quota set mode=under-attack
  weir quota set packets=5000/s packets_burst=10000 concurrent=100
  weir quota set --class partners bytes=1Gbit/s
  weir quota set packets=                        (no quota of packets any more)

Keys are those of a policy: weir quota show --policy.`
}

// Run sets.
func (c *quotaSetCmd) Run(ctx context.Context, a *app) error {
	set, err := keyValues(c.Set)
	if err != nil {
		return &usageError{err}
	}
	mode, hasMode := set["mode"]
	delete(set, "mode")
	if len(set) > 0 {
		body := map[string]any{"class": c.Class, "set": set, "force": c.Force, "operators": operatorsOf(a.environ)}
		if err := c.call(ctx, http.MethodPost, "/api/quota/edit", body, &struct{}{}); err != nil {
			return err
		}
	}
	if hasMode {
		return c.call(ctx, http.MethodPost, "/api/quota/mode", map[string]string{"mode": mode}, &struct{}{})
	}
	return nil
}

// listFlags are those of the commands that list prefixes.
type listFlags struct {
	adminFlags
	Force    bool     `help:"Also if it cuts off who is connected by SSH."`
	Prefixes []string `arg:"" help:"Prefixes or addresses."`
}

func (c *listFlags) list(ctx context.Context, a *app, verdict, class string) error {
	body := map[string]any{"prefixes": c.Prefixes, "verdict": verdict, "class": class, "force": c.Force, "operators": operatorsOf(a.environ)}
	return c.call(ctx, http.MethodPost, "/api/quota/edit", body, &struct{}{})
}

type quotaAllowCmd struct{ listFlags }

// Help is printed below the flags.
func (*quotaAllowCmd) Help() string {
	return "Example:\n  weir quota allow 192.0.2.0/24 2001:db8::/48"
}

// Run allows.
func (c *quotaAllowCmd) Run(ctx context.Context, a *app) error { return c.list(ctx, a, "allow", "") }

type quotaDenyCmd struct{ listFlags }

// Help is printed below the flags.
func (*quotaDenyCmd) Help() string { return "Example:\n  weir quota deny 198.51.100.0/24" }

// Run denies.
func (c *quotaDenyCmd) Run(ctx context.Context, a *app) error { return c.list(ctx, a, "deny", "") }

type quotaClassCmd struct {
	Name string `arg:"" help:"Class of the policy."`
	listFlags
}

// Help is printed below the flags.
func (*quotaClassCmd) Help() string { return "Example:\n  weir quota class partners 203.0.113.0/24" }

// Run puts prefixes into a class.
func (c *quotaClassCmd) Run(ctx context.Context, a *app) error {
	return c.list(ctx, a, "class", c.Name)
}

type quotaUnlistCmd struct{ listFlags }

// Help is printed below the flags.
func (*quotaUnlistCmd) Help() string { return "Example:\n  weir quota unlist 198.51.100.0/24" }

// Run takes prefixes off the lists.
func (c *quotaUnlistCmd) Run(ctx context.Context, a *app) error { return c.list(ctx, a, "none", "") }

type quotaApplyCmd struct {
	adminFlags
	File    string        `arg:"" help:"Policy (YAML); - for the standard input."`
	Confirm time.Duration `help:"Put the policy before back after this time, unless weir quota confirm comes first; 0 to keep it at once." default:"60s"`
	Force   bool          `help:"Also if it cuts off who is connected by SSH."`
	Check   bool          `help:"Only say what is wrong with the file."`
}

// Help is printed below the flags.
func (*quotaApplyCmd) Help() string {
	return `Examples:
  weir quota show --policy >policy.yaml          write the policy that holds
  weir quota apply policy.yaml --confirm 60s     try another
  weir quota confirm                             and keep it
  weir quota apply policy.yaml --check           only say what is wrong`
}

// Run applies.
func (c *quotaApplyCmd) Run(ctx context.Context, a *app) error {
	text, err := c.read(a)
	if err != nil {
		return err
	}
	if _, _, err := config.ParsePolicy(c.File, text); err != nil || c.Check {
		return err
	}
	body := map[string]any{"policy": string(text), "name": c.File, "confirm_seconds": int(c.Confirm.Seconds()), "force": c.Force, "operators": operatorsOf(a.environ)}
	var applied struct {
		Mode  string `json:"mode"`
		Until string `json:"until"`
	}
	if err := c.call(ctx, http.MethodPost, "/api/quota/apply", body, &applied); err != nil {
		return err
	}
	if applied.Until == "" {
		_, err = fmt.Fprintf(a.stdout, "the policy holds, mode %s\n", applied.Mode)
	} else {
		_, err = fmt.Fprintf(a.stdout, "the policy holds, mode %s, until %s: to keep it: weir quota confirm\n", applied.Mode, applied.Until)
	}
	return err
}

func (c *quotaApplyCmd) read(a *app) ([]byte, error) {
	if c.File == "-" {
		return io.ReadAll(io.LimitReader(a.stdin, 64<<20))
	}
	text, err := os.ReadFile(c.File)
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	return text, nil
}

type quotaConfirmCmd struct{ adminFlags }

// Help is printed below the flags.
func (*quotaConfirmCmd) Help() string { return "Example:\n  weir quota confirm" }

// Run confirms.
func (c *quotaConfirmCmd) Run(ctx context.Context, a *app) error {
	if err := c.call(ctx, http.MethodPost, "/api/quota/confirm", struct{}{}, &struct{}{}); err != nil {
		return err
	}
	_, err := fmt.Fprintln(a.stdout, "the policy stays")
	return err
}

type quotaUnpinCmd struct {
	Interface string `arg:"" help:"Interface whose state is to go."`
	Dir       string `help:"Where it is pinned." default:"${pin_dir}" placeholder:"DIR"`
}

// Help is printed below the flags.
func (*quotaUnpinCmd) Help() string {
	return "Example:\n  weir quota unpin eth0        detaches what a killed weir left there; it needs root"
}

// Run lets pinned state go.
func (c *quotaUnpinCmd) Run(_ context.Context, a *app) error {
	err := xdp.Unpin(c.Dir, c.Interface)
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: run it as root", err)
	}
	if err == nil {
		_, err = fmt.Fprintf(a.stdout, "nothing of weir is pinned for %s\n", c.Interface)
	}
	return err
}
