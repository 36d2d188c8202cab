package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"weir/cmd/weir/config"
	"weir/gateway/policy"
	"weir/gateway/replay"
)

type quotaReplayCmd struct {
	Policy  string        `arg:"" help:"Policy: a name in the file of routes, or quota=RATE and more, see below."`
	Log     []string      `help:"Access log; .gz is read too, - is the standard input. Repeat it for others." required:"" sep:"none" placeholder:"FILE"`
	Routes  string        `help:"File of routes, plans and consumers, as weir gateway takes it. Without it all requests are of one route." placeholder:"FILE" type:"path"`
	Beside  string        `help:"Policy to compare with, named or written as POLICY is; without it what the log says." placeholder:"POLICY"`
	Alone   bool          `help:"Leave out the other policies of the file of routes."`
	Fields  string        `help:"Fields of a log of JSON, such as client=ip,time=ts,status=code." placeholder:"NAME=FIELD,..."`
	Key     []string      `help:"Field with what a policy is keyed by, such as header:X-Tenant=tenant; repeat it for others." sep:"none" placeholder:"PART=FIELD"`
	Status  []int         `help:"Statuses by which the log says that a request was limited." default:"429"`
	Host    string        `help:"Host of requests whose line has none." placeholder:"NAME"`
	Window  time.Duration `help:"How much lines may be out of order." default:"10s"`
	Clients int           `help:"Of how many clients all is kept." default:"131072"`
	N       int           `help:"How many clients are listed." short:"n" default:"20"`
	JSON    bool          `help:"Print JSON." name:"json"`
}

// Help is printed below the flags.
func (*quotaReplayCmd) Help() string {
	return `Examples:
  weir quota replay quota=100/min,burst=20 --log access.log
  weir quota replay quota=100/min,key=address/24/56,algorithm=counter --log access.log.1.gz --log access.log
  weir quota replay strict --routes routes.yaml --beside burst --log access.log
  weir quota replay quota=10/s,key=header:X-Tenant --key header:X-Tenant=tenant --fields client=ip --log app.json

It says which clients a policy would have limited, when and how much, had it held. Logs are in nginx's or
Apache's common or combined format, or lines of JSON: of weir, nginx, Caddy, or with --fields of others.
A line that cannot be read is counted and left out. weir's own log has all requests with
gateway.access_log_sample: 1 alone.

A policy that is written out has the keys of one in a file of routes: quota, bytes or concurrent, burst,
key (parts joined by +), algorithm (gcra, counter, log; of these gcra alone has a burst), missing. It takes the place of --beside where
that holds, else it holds for all routes.

Names for --fields: time (when a request ended), begun, client, forwarded, identity, request, method, host,
path, status, outcome, seconds, received, sent. A field in an object is named with a dot.`
}

// Run replays.
func (c *quotaReplayCmd) Run(ctx context.Context, a *app) error {
	cfg, err := c.config()
	if err != nil {
		return &usageError{err}
	}
	var logs []replay.Source
	for _, name := range c.Log {
		if name == "-" {
			logs = append(logs, replay.Source{Name: "-", Reader: a.stdin})
			continue
		}
		file, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("read a log: %w", err)
		}
		defer file.Close() //nolint:errcheck // it was read
		logs = append(logs, replay.Source{Name: name, Reader: file})
	}
	report, err := replay.Run(ctx, cfg, logs...)
	if errors.Is(err, replay.ErrBadConfig) {
		return &usageError{err}
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(report)
	}
	return printReplay(a.stdout, report)
}

// config is what the flags say.
func (c *quotaReplayCmd) config() (cfg replay.Config, err error) {
	cfg = replay.Config{
		Alone: c.Alone, Statuses: c.Status, Host: c.Host, Window: c.Window, Clients: c.Clients, Top: c.N,
		Fields: map[string]string{}, Keys: map[string]string{},
	}
	if c.Routes != "" {
		plan, err := config.LoadPlan(c.Routes)
		if err != nil {
			return cfg, err
		}
		cfg.Rules = plan.Rules
	}
	if cfg.Candidate, err = policyOf("candidate", c.Policy, cfg.Rules, c.Routes); err != nil {
		return cfg, err
	}
	if c.Beside != "" {
		beside, err := policyOf("beside", c.Beside, cfg.Rules, c.Routes)
		if err != nil {
			return cfg, fmt.Errorf("--beside: %w", err)
		}
		cfg.Beside = &beside
	}
	if c.Fields != "" {
		if err := putAll(cfg.Fields, strings.Split(c.Fields, ",")); err != nil {
			return cfg, fmt.Errorf("--fields: %w", err)
		}
	}
	if err := putAll(cfg.Keys, c.Key); err != nil {
		return cfg, fmt.Errorf("--key: %w", err)
	}
	keys := cfg.Keys
	cfg.Keys = map[string]string{}
	for part, field := range keys { // as policies write it
		p, err := policy.ParseKeyPart(part)
		if err != nil {
			return cfg, fmt.Errorf("--key %w", err)
		}
		cfg.Keys[p.String()] = field
	}
	return cfg, nil
}

func putAll(to map[string]string, texts []string) error {
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" || value == "" {
			return fmt.Errorf("%q: want NAME=FIELD", text)
		}
		to[name] = value
	}
	return nil
}

// policyOf is a policy by its name in the file of routes, or, if it is written out, by a name that nobody has there.
func policyOf(name, text string, rules policy.Config, file string) (policy.Policy, error) {
	if !strings.Contains(text, "=") {
		var there []string
		for _, p := range rules.Policies {
			if p.Quota.Name == text {
				return p, nil
			}
			there = append(there, p.Quota.Name)
		}
		if file == "" {
			return policy.Policy{}, fmt.Errorf("there is no policy %q: name the file that has it with --routes, or write it out, such as quota=100/min", text)
		}
		return policy.Policy{}, fmt.Errorf("%s has no policy %q: want one of %s, or write it out, such as quota=100/min", file, text, strings.Join(there, ", "))
	}
	for _, p := range rules.Policies {
		if p.Quota.Name == name {
			name += "-written"
		}
	}
	p, err := parsePolicy(name, text)
	if err != nil {
		return p, fmt.Errorf("%s: %w", text, err)
	}
	if _, err = p.Quota.Compile(); err != nil {
		return p, fmt.Errorf("%s: %w", text, err)
	}
	return p, nil
}

// algorithms are shorter names of some.
var algorithms = map[string]string{"counter": "sliding-counter", "log": "sliding-log"}

// parsePolicy reads quota=100/min,burst=20,key=address/24/56+route: what a file of routes has of a policy, in a line.
func parsePolicy(name, text string) (policy.Policy, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "upstreams: {log: {servers: [\"192.0.2.1:80\"]}}\nroutes: {all: {upstream: log}}\npolicies: {%q: {", name)
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || value == "" {
			return policy.Policy{}, fmt.Errorf("%q: want KEY=VALUE, such as quota=100/min,burst=20,key=address/24/56", pair)
		}
		switch {
		case key == "key":
			fmt.Fprintf(&b, "key: [")
			for part := range strings.SplitSeq(value, "+") {
				fmt.Fprintf(&b, "%s,", strconv.Quote(part))
			}
			b.WriteString("],")
			continue
		case key == "algorithm" && algorithms[value] != "":
			value = algorithms[value]
		}
		fmt.Fprintf(&b, "%s: %s,", strconv.Quote(key), strconv.Quote(value))
	}
	b.WriteString("}}\n")
	plan, err := config.ParsePlan("the policy", []byte(b.String()))
	if err != nil {
		return policy.Policy{}, err
	}
	return plan.Rules.Policies[0], nil
}

// printReplay prints a report for people.
func printReplay(out io.Writer, r *replay.Report) error {
	return (&replayPrinter{out: out, r: r}).print()
}
