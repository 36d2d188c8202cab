package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/bench/floor"
	"weir/bench/minimal"
)

// Servers that weir is measured beside, each in a process of its own.
const (
	// ServerFloor is [floor], ServerMinimal is [minimal].
	ServerFloor   = "floor"
	ServerMinimal = "minimal"
	ServerWeir    = "weir"
	// ServerWeirWith is a weir with variables of its own, beside the one without.
	ServerWeirWith = "weir-with"
)

// Servers are those that can be named, in the order of tables.
func Servers() []string { return []string{ServerFloor, ServerMinimal, ServerWeir} }

// isWeir reports whether a server is one, with variables or without.
func isWeir(name string) bool { return name == ServerWeir || name == ServerWeirWith }

// checkServers says which names are not of servers, and that none is twice.
func checkServers(names []string) error {
	for i, name := range names {
		if !slices.Contains(Servers(), name) || slices.Contains(names[:i], name) {
			return fmt.Errorf("--servers is %s: want some of %s, each once", name, strings.Join(Servers(), ", "))
		}
	}
	return nil
}

// servers starts them.
type servers struct {
	dir, floor string // floor is the compiled one, "" for that in Go
	// floorIs says what the floor is.
	floorIs string
	// with are the variables of ServerWeirWith, KEY=VALUE each.
	with []string
}

// newServers makes ready what those of the names need. close it.
func newServers(ctx context.Context, names []string) (s *servers, err error) {
	s = &servers{}
	if !slices.Contains(names, ServerFloor) {
		return s, nil
	}
	if s.dir, err = os.MkdirTemp("", "weir-floor-"); err != nil {
		return nil, fmt.Errorf("compile the floor: %w", err)
	}
	var command string
	s.floor, command, err = floor.Compile(ctx, s.dir)
	switch {
	case errors.Is(err, floor.ErrNoCompiler):
		s.floorIs = "Go, raw system calls: " + floor.ErrNoCompiler.Error() + " for the one in C"
	case err != nil:
		return nil, errors.Join(err, s.close())
	default:
		s.floorIs = "C, " + command
	}
	return s, nil
}

func (s *servers) close() error {
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// inTurns measures the servers of the names, repeatedly; which comes first changes. It returns what
// the floor is.
func inTurns(ctx context.Context, names []string, reps int, measure func(s *servers, name string, rep int) error) (floorIs string, err error) {
	s, err := newServers(ctx, names)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for rep := range reps {
		for _, name := range rotated(names, rep) {
			if err := measure(s, name, rep); err != nil {
				return "", fmt.Errorf("measure %s: %w", name, err)
			}
		}
	}
	return s.floorIs, nil
}

// rotated is the order of a repetition: each comes first in turn, so that what an earlier one left
// behind is in all.
func rotated[T any](all []T, rep int) []T {
	n := rep % len(all)
	return slices.Concat(all[n:], all[:n])
}

// maxConnsEnv lets a weir take so many conns, beyond what it leaves of the descriptor limit by itself.
func maxConnsEnv(conns int) string { return fmt.Sprintf("WEIR_EDGE_MAX_CONNS=%d", conns+1) }

// server is one that runs.
type server struct {
	*Process
	name  string
	edge  netip.AddrPort
	admin string  // host:port of a weir
	piped *Worker // the others
	// client asks the admin address; nil is the default one.
	client *http.Client
}

// start starts the server of a name on loopback. The variables are a weir's.
func (s *servers) start(ctx context.Context, name string, env ...string) (*server, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	srv := &server{name: name, edge: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))} //nolint:gosec // a port
	if name == ServerWeirWith {
		env = slices.Concat(env, s.with)
	}
	if isWeir(name) {
		if err := srv.serveWeir(ctx, env); err != nil {
			return nil, err
		}
		return srv, nil
	}
	start, args := StartProcess, []string{"bench-worker", name, srv.edge.String()}
	if name == ServerFloor && s.floor != "" {
		args = []string{strconv.Itoa(port), floor.Response()}
		start = func(args []string, in io.Reader, out io.Writer, env ...string) (*Process, error) {
			return startProgram(s.floor, args, in, out, env...)
		}
	}
	if srv.piped, err = startPiped(start, args...); err != nil {
		return nil, err
	}
	srv.Process = srv.piped.Process
	if _, err := srv.piped.line(); err != nil { // it is ready
		srv.end()
		return nil, fmt.Errorf("start the %s server: %w", name, err)
	}
	return srv, nil
}

func (srv *server) serveWeir(ctx context.Context, env []string) error {
	adminPort, err := FreePort()
	if err != nil {
		return err
	}
	srv.admin = "127.0.0.1:" + strconv.Itoa(adminPort)
	srv.Process, err = StartProcess([]string{"serve", "--listen", srv.edge.String(), "--admin", srv.admin, "--xdp", "off", "--log-level", "error"}, nil, nil, env...)
	if err != nil {
		return err
	}
	if err := srv.WaitReady(ctx, http.DefaultClient, "http://"+srv.admin); err != nil {
		srv.end()
		return err
	}
	return nil
}

// publisher publishes to a topic; the others than weir have but one.
func (srv *server) publisher(ctx context.Context, topic string, size int) (*Publisher, error) {
	if srv.piped != nil {
		return newLinePublisher(srv.piped.in, size), nil
	}
	return NewPublisher(ctx, (&net.Dialer{}).DialContext, srv.admin, topic, size)
}

func (srv *server) end() {
	if srv.piped != nil {
		srv.piped.End()
		return
	}
	srv.Stop(15 * time.Second)
}

// collect has a server collect its garbage, and returns the bytes of its heap in use: weir by its
// admin address's /debug/pprof/heap?gc=1, twice, as the second collection frees what the first
// one's finalizers held.
func (srv *server) collect(ctx context.Context) (heap uint64, err error) {
	switch srv.name {
	case ServerFloor:
		return 0, nil
	case ServerMinimal:
		if err := srv.piped.Command(minimal.CommandCollect); err != nil {
			return 0, err
		}
		line, err := srv.piped.line()
		if err != nil {
			return 0, err
		}
		return strconv.ParseUint(strings.TrimSpace(string(line)), 10, 64)
	}
	for range 2 {
		if _, err := srv.ask(ctx, "/debug/pprof/heap?gc=1"); err != nil {
			return 0, err
		}
	}
	m, err := srv.metrics(ctx)
	return uint64(m["go_memstats_heap_inuse_bytes"]), err
}

// ask reads what a weir's admin address answers.
func (srv *server) ask(ctx context.Context, path string) ([]byte, error) {
	client := srv.client
	if client == nil {
		client = http.DefaultClient
	}
	return get(ctx, client, "http://"+srv.admin+path)
}

// metrics are a weir's, by name and labels as they stand in the text.
func (srv *server) metrics(ctx context.Context) (map[string]float64, error) {
	text, err := srv.ask(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	m := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			m[name] = v
		}
	}
	return m, nil
}

// get reads what a server answers.
func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	return io.ReadAll(res.Body)
}

// RunServer is the process of a server other than weir, at host:port, with messages from in.
func RunServer(name, at string, in io.Reader, out io.Writer) error {
	switch name {
	case ServerMinimal:
		return minimal.Run(at, in, out)
	case ServerFloor:
		addr, err := netip.ParseAddrPort(at)
		if err != nil {
			return fmt.Errorf("serve %s: %w", at, err)
		}
		f, ok := in.(*os.File)
		if !ok {
			return errors.New("the floor waits for its input with epoll: it must be a file")
		}
		return floor.Run(addr, floor.Response(), f, out)
	default:
		return fmt.Errorf("no server %q: want %s or %s", name, ServerFloor, ServerMinimal)
	}
}
