package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// limit is what a gateway lets through.
type limit int

const (
	// limitFar is a quota that no client meets, limitAll one that all but the first request are over, limitClient that of a
	// client, limitNone none; limitBeside is limitFar on besidePath and none elsewhere.
	limitFar limit = iota
	limitAll
	limitClient
	limitNone
	limitBeside
)

// peerConfig is what a gateway is told.
type peerConfig struct {
	peer         string
	listen       netip.AddrPort
	upstream     netip.AddrPort
	limit        limit
	quota        int // of limitClient
	conns        int
	workers      int
	idle         int               // of each worker
	dir          string            // for its files
	keys         map[string]bool   // that this weir knows
	settings     map[string]string // of a weir, beside those that all have
	admin        string            // of a weir, host:port
	xdpInterface string            // of a weir, "" for no quotas there
}

// peerProcess is a gateway that runs.
type peerProcess struct{ *Process }

// programs are the peers' that are none of ours.
func programs() map[string]string {
	return map[string]string{PeerNginx: "nginx", PeerNginxAlike: "nginx", PeerHAProxy: "haproxy", PeerCaddy: "caddy"}
}

// lookProgram finds a program on the path, or where administrators' are.
func lookProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if path, other := exec.LookPath(filepath.Join(dir, name)); other == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is missing: install it with: apt-get install %s: %w", name, packageOf(name), err)
}

func packageOf(program string) string {
	if program == "ab" {
		return "apache2-utils"
	}
	return program
}

// runProgram starts a program that is none of ours, here or in a namespace.
type runProgram func(program string, args []string, env ...string) (*Process, error)

func runHere(program string, args []string, env ...string) (*Process, error) {
	return startWith(masterAttr(), program, args, nil, nil, env...)
}

// startPeer starts a gateway and waits until it answers.
func startPeer(ctx context.Context, run runProgram, client *http.Client, c peerConfig) (*peerProcess, error) {
	program, args, env, err := c.command()
	if err != nil {
		return nil, err
	}
	p, err := run(program, args, env...)
	if err != nil {
		return nil, err
	}
	peer := &peerProcess{p}
	if err := p.awaitAnswer(ctx, client, "http://"+c.listen.String()+"/", anyStatus); err != nil {
		peer.end()
		return nil, fmt.Errorf("start %s: %w", c.peer, err)
	}
	return peer, nil
}

// end ends a gateway, whose conns are of no use any more.
func (p *peerProcess) end() { p.Stop(3 * time.Second) }

// cpu is what the process and its children have used, seconds.
func (p *peerProcess) cpu() (float64, error) {
	sum, err := cpuSeconds(p.Pid())
	if err != nil {
		return 0, err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.Pid(), p.Pid()))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	for text := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		used, err := cpuSeconds(pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// anyStatus will do of a server that is asked whether it is there.
func anyStatus(int) bool { return true }

// command writes the gateway's files, and says how it is started.
func (c peerConfig) command() (program string, args, env []string, err error) {
	cores := "GOMAXPROCS=" + strconv.Itoa(c.workers)
	if name := programs()[c.peer]; name != "" {
		if program, err = lookProgram(name); err != nil {
			return "", nil, nil, err
		}
	}
	switch c.peer {
	case PeerNginx, PeerNginxAlike:
		at, err := c.write("nginx.conf", c.nginx())
		return program, []string{"-c", at, "-p", c.dir, "-e", "stderr"}, nil, err
	case PeerHAProxy:
		at, err := c.write("haproxy.cfg", c.haproxy())
		return program, []string{"-db", "-f", at}, nil, err
	case PeerCaddy:
		at, err := c.write("Caddyfile", c.caddy())
		return program, []string{"run", "--config", at, "--adapter", "caddyfile"}, []string{cores, "HOME=" + c.dir, "XDG_DATA_HOME=" + c.dir, "XDG_CONFIG_HOME=" + c.dir}, err
	}
	routes, err := c.write("routes.yaml", c.weirRoutes())
	if err != nil {
		return "", nil, nil, err
	}
	at, err := c.write("weir.yaml", c.weir(routes))
	if err != nil {
		return "", nil, nil, err
	}
	if program, err = os.Executable(); err != nil {
		return "", nil, nil, fmt.Errorf("find this binary: %w", err)
	}
	return program, []string{"gateway", "--config", at}, nil, nil // its loops are set
}

// write writes a file of the gateway's, under a name of its own.
func (c peerConfig) write(name, text string) (string, error) {
	path := filepath.Join(c.dir, c.peer+"-"+name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write the configuration of %s: %w", c.peer, err)
	}
	return path, nil
}

// startUpstream starts what all gateways forward to: nginx, which answers 200 at once.
func startUpstream(ctx context.Context, run runProgram, client *http.Client, at netip.AddrPort, workers int, dir string) (*peerProcess, error) {
	program, err := lookProgram("nginx")
	if err != nil {
		return nil, fmt.Errorf("start the upstream: %w", err)
	}
	path := filepath.Join(dir, "upstream.conf")
	if err := os.WriteFile(path, []byte(nginxMain(dir, "upstream", workers)+fmt.Sprintf(upstreamServer, at)), 0o600); err != nil {
		return nil, fmt.Errorf("write the upstream's configuration: %w", err)
	}
	p, err := run(program, []string{"-c", path, "-p", dir, "-e", "stderr"})
	if err != nil {
		return nil, err
	}
	if err := p.awaitAnswer(ctx, client, "http://"+at.String()+"/", anyStatus); err != nil {
		p.Stop(3 * time.Second)
		return nil, fmt.Errorf("start the upstream: %w", err)
	}
	return &peerProcess{p}, nil
}

// freeAddress is one on loopback that nobody listens on now.
func freeAddress() (netip.AddrPort, error) {
	port, err := FreePort()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)), err //nolint:gosec // a port
}
