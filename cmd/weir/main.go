// Command weir pushes live events to WebSocket clients and keeps abusive clients off the host
// in XDP. Run `weir --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"weir/bpf/xdp"
	"weir/tuning/journal"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// cli is the command line.
type cli struct {
	Serve     serveCmd       `cmd:"" help:"Run all of weir in one process: bus, edge, quotas, admin page."`
	Broker    brokerCmd      `cmd:"" help:"Run the bus alone, for edges on this host and others."`
	Edge      edgeCmd        `cmd:"" help:"Run an edge of a broker: client connections and quotas."`
	Publish   publishCmd     `cmd:"" help:"Publish events to a topic."`
	Subscribe subscribeCmd   `cmd:"" help:"Print the events of topics as they come."`
	Gateway   gatewayCmd     `cmd:"" help:"Run an API gateway with a quota for each client, in front of upstreams."`
	Why       whyCmd         `cmd:"" help:"Say what became of a client's connections."`
	Quota     quotaCmd       `cmd:"" help:"Show and change the quotas in XDP."`
	Trace     traceCmd       `cmd:"" help:"Measure where the microseconds between network and server go (root)."`
	Doctor    doctorCmd      `cmd:"" help:"Look at this host and say what to mend."`
	Tune      tuneCmd        `cmd:"" help:"Plan, apply, verify and roll back the host's settings."`
	Version   versionCmd     `cmd:"" help:"Print the version."`
	Bench     benchCmd       `cmd:"" help:"Measure weir on this host."`
	Demo      demoCmd        `cmd:"" help:"Show a flood held off, in two network namespaces (root)."`
	Worker    benchWorkerCmd `cmd:"" name:"bench-worker" hidden:""`

	EdgeWorker edgeWorkerCmd `cmd:"" name:"edge-worker" hidden:""`
}

// usageError is a mistake on the command line: exit code 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// app is what the commands need of the process.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	args           []string // without the program
}

func main() {
	os.Exit(run(os.Args[1:], &app{os.Stdin, os.Stdout, os.Stderr, os.Environ(), os.Args[1:]}))
}

// run is main with its surroundings as arguments.
func run(args []string, a *app) int {
	ctx, stop := interruptible()
	defer stop()
	exited := -1
	parser, err := kong.New(&cli{},
		kong.Name("weir"),
		kong.Description("An edge data plane: pushes live events to WebSocket clients, and drops abusive clients' packets in XDP."),
		kong.Writers(a.stdout, a.stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Vars{"pin_dir": xdp.DefaultPinDir, "tune_journal": journal.DefaultPath},
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(a),
	)
	if err != nil { // the tags of cli are wrong
		panic(err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		fmt.Fprintf(a.stderr, "weir: %v: see weir --help\n", err)
		return exitUsage
	}
	err = parsed.Run()
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(a.stderr, "weir: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(a.stderr, "weir: %v\n", err)
		return exitFailed
	}
}

// interruptible ends its context at the first SIGINT or SIGTERM, and the process at the
// second.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(exitFailed)
	}()
	return ctx, cancel
}
