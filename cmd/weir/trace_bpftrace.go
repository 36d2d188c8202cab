package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"weir/tuning/bpftrace"
)

// session runs a session of bpftrace.
func (c *traceCmd) session(ctx context.Context, a *app) error {
	if len(c.What) > 0 || c.JSON || c.All || c.Listen != "" {
		return &usageError{errors.New("--bpftrace takes --pid, --port, --duration and --print alone: leave out the rest")}
	}
	if c.Bpftrace == "list" {
		return listSessions(a.stdout)
	}
	params, err := c.sessionParams()
	if err != nil {
		return err
	}
	if c.Print {
		var script string
		if script, err = bpftrace.Script(c.Bpftrace); err == nil {
			_, err = io.WriteString(a.stdout, script)
		}
	} else {
		err = bpftrace.Run(ctx, c.Bpftrace, params, a.stdout)
	}
	if errors.Is(err, bpftrace.ErrSession) || errors.Is(err, bpftrace.ErrParams) {
		return &usageError{err}
	}
	return err
}

// sessionParams are what a session is told: one process, one port.
func (c *traceCmd) sessionParams() (p bpftrace.Params, err error) {
	if len(c.PID) > 1 || len(c.Port) > 1 {
		return p, &usageError{errors.New("a session looks at one process and one port: name one --pid and one --port")}
	}
	p.Duration = defaultDuration
	if c.Duration != nil {
		p.Duration = *c.Duration
	}
	if len(c.PID) > 0 {
		p.PID = c.PID[0]
	}
	if len(c.Port) > 0 {
		p.Port = int(c.Port[0])
	}
	return p, nil
}

// listSessions prints what there is to run, with its parameters.
func listSessions(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range bpftrace.Sessions() {
		var params strings.Builder
		for _, p := range s.Needs {
			fmt.Fprintf(&params, " --%s N", p)
		}
		for _, p := range s.Takes {
			fmt.Fprintf(&params, " [--%s N]", p)
		}
		fmt.Fprintf(w, "%s%s\t%s\n", s.Name, &params, s.Question)
	}
	return w.Flush()
}
