package bench

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What requests go through, in the order of tables.
const (
	// PeerDirect is no gateway.
	PeerDirect = "direct"
	// PeerWeir is on event loops, with a quota that no client meets; PeerWeirOpen without one; PeerWeirNet is on net/http.
	PeerWeir     = "weir"
	PeerWeirOpen = "weir-open"
	PeerWeirNet  = "weir-net"
	// PeerNginx has limit_req, and PeerNginxAlike besides tells the upstream whom it forwards for, and both sides an id, as weir and
	// Caddy do; PeerHAProxy has a stick table; PeerCaddy has no limiter in its Debian package.
	PeerNginx      = "nginx"
	PeerNginxAlike = "nginx-alike"
	PeerHAProxy    = "haproxy"
	PeerCaddy      = "caddy"
)

// Peers are all of them.
func Peers() []string {
	return []string{PeerDirect, PeerWeir, PeerWeirOpen, PeerWeirNet, PeerNginx, PeerNginxAlike, PeerHAProxy, PeerCaddy}
}

// limiting are those that can refuse.
func limiting() []string { return []string{PeerWeir, PeerWeirNet, PeerNginx, PeerHAProxy} }

// barPeers are those whose requests a second set the rate of the open loop.
func barPeers() []string { return []string{PeerWeir, PeerNginx, PeerHAProxy} }

// GatewayConfig configures [RunGateway] and [RunGatewayAbuse]. Zero fields take the defaults.
type GatewayConfig struct {
	// Peers are measured, in turns. Default all.
	Peers []string
	// Conns are numbers of conns to load with. 1 to 15000 each, default 1, 64, 1000, 5000, 10000.
	Conns []int
	// Open are those of them that are measured at a fixed rate as well. Default 1, 64 and 5000, if they are in Conns.
	Open []int
	// Rate is that rate, requests a second; 0: a quarter of what the slowest of weir, nginx and haproxy took with as many conns: there a
	// request costs about twice the CPU time, as few wait together.
	Rate float64
	// Duration is how long each turn is measured. 1 s to 10 min, whole seconds, default 5 s.
	Duration time.Duration
	// Reps is how many turns there are of each kind. 1 to 100, default 3.
	Reps int
	// Workers are the processes or threads of each gateway, Idle the conns to the upstream that each of them keeps.
	// 1 to 64 and 1 to 10000, default 2 and 512.
	Workers, Idle int
	// Threads are wrk's. 1 to 16, default 1.
	Threads int
	// Quota is each client's in [RunGatewayAbuse], requests a second; Good the clients that keep to it, PerClient
	// what each of them sends; Abuse how often its quota the abuser sends. Defaults 500, 100, 20 and 20.
	Quota, Good int
	PerClient   float64
	Abuse       float64
	// Escalate are settings of a weir, section.key each, that have it drop abusers in XDP. Default gateway.escalate: on.
	Escalate map[string]string
}

// openDefault are the numbers of conns that bars of latency are of, and one.
func openDefault() []int { return []int{1, 64, 5000} }

func (c GatewayConfig) withDefaults() GatewayConfig {
	if len(c.Peers) == 0 {
		c.Peers = Peers()
	}
	if len(c.Conns) == 0 {
		c.Conns = []int{1, 64, 1000, 5000, 10_000}
	}
	if c.Open == nil {
		for _, n := range openDefault() {
			if slices.Contains(c.Conns, n) {
				c.Open = append(c.Open, n)
			}
		}
	}
	if c.Duration == 0 {
		c.Duration = 5 * time.Second
	}
	for _, d := range []struct {
		at    *int
		value int
	}{{&c.Reps, 3}, {&c.Workers, 2}, {&c.Idle, 512}, {&c.Threads, 1}, {&c.Quota, 500}, {&c.Good, 100}} {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
	if len(c.Escalate) == 0 {
		c.Escalate = map[string]string{keyEscalate: `"on"`}
	}
	for _, d := range []*float64{&c.PerClient, &c.Abuse} {
		if *d == 0 {
			*d = 20
		}
	}
	return c
}

// Quick is the least that shows all kinds of turns: about a minute.
func (c GatewayConfig) Quick() GatewayConfig {
	c.Conns, c.Open, c.Reps, c.Duration = []int{1, 64, 1000}, []int{64}, 1, time.Second
	return c
}

// maxGatewayConns leaves a gateway in one process descriptors for its other side.
const maxGatewayConns = 15_000

// Validate says what is wrong, joined; nil if nothing is.
func (c GatewayConfig) Validate() error {
	c = c.withDefaults()
	var bad flagErrors
	for i, p := range c.Peers {
		bad.check("peers", slices.Contains(Peers(), p) && !slices.Contains(c.Peers[:i], p), p, "some of "+strings.Join(Peers(), ", ")+", each once")
	}
	for _, n := range c.Conns {
		bad.check("conns", n >= 1 && n <= maxGatewayConns, n, fmt.Sprintf("1 to %d each", maxGatewayConns))
	}
	for _, n := range c.Open {
		bad.check("open", slices.Contains(c.Conns, n), n, "some of --conns")
	}
	bad.check("rate", c.Rate == 0 || c.Rate >= 1 && c.Rate <= 1_000_000, c.Rate, "1 to 1000000, or 0 for a quarter of the slowest's")
	bad.check("duration", c.Duration >= time.Second && c.Duration <= 10*time.Minute && c.Duration%time.Second == 0, c.Duration, "1s to 10m, in whole seconds")
	bad.check("reps", c.Reps >= 1 && c.Reps <= 100, c.Reps, "1 to 100")
	bad.check("workers", c.Workers >= 1 && c.Workers <= 64, c.Workers, "1 to 64")
	bad.check("idle", c.Idle >= 1 && c.Idle <= 10_000, c.Idle, "1 to 10000")
	bad.check("threads", c.Threads >= 1 && c.Threads <= 16, c.Threads, "1 to 16")
	bad.check("quota", c.Quota >= 10 && c.Quota <= 100_000, c.Quota, "10 to 100000")
	bad.check("good", c.Good >= 1 && c.Good <= LabMaxAddrs, c.Good, fmt.Sprintf("1 to %d", LabMaxAddrs))
	bad.check("per-client", c.PerClient >= 0.1 && c.PerClient <= float64(c.Quota), c.PerClient, "0.1 to --quota")
	bad.check("abuse", c.Abuse >= 1.5 && c.Abuse*float64(c.Quota) <= 200_000, c.Abuse, "1.5 to 200000 requests a second")
	return errors.Join(bad...)
}

// Kinds of turns.
const (
	// KindClosed is wrk: each conn sends when it has its answer. KindAB is ab, the same.
	KindClosed = "closed"
	KindAB     = "ab"
	// KindOpen is at a fixed rate.
	KindOpen = "open"
	// KindBeside is at a fixed rate, one half of it over a route with a quota and one over a route without, of one weir at one time:
	// what the host does meanwhile, it does to both. The half with is a turn of PeerWeir, the other one of PeerWeirOpen.
	KindBeside = "beside"
	// KindRefused is wrk, and all is over a quota.
	KindRefused = "refused"
)

// GatewayTurn is what one run of a client measured. Latencies are of KindOpen and KindBeside from when a request
// was due, else from when it was sent; all are microseconds.
type GatewayTurn struct {
	Peer  string `json:"peer"`
	Kind  string `json:"kind"`
	Conns int    `json:"conns"`
	Rep   int    `json:"rep"`
	// Rate is what KindOpen was to send a second, KindBeside over both routes.
	Rate      float64 `json:"rate,omitempty"`
	Requests  uint64  `json:"requests"`
	PerSecond float64 `json:"requests_per_second"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	P999      float64 `json:"p999_us"`
	Max       float64 `json:"max_us"`
	// Errors are requests and conns that failed, Failed how; Refused answers of 429 in KindRefused.
	Errors  uint64            `json:"errors"`
	Failed  map[string]uint64 `json:"failed,omitempty"`
	Refused uint64            `json:"refused,omitempty"`
	// MicrosCPU is the gateway's user and system time a request, UpstreamMicros the upstream's. 0 of PeerDirect.
	MicrosCPU      float64 `json:"gateway_cpu_us_per_request"`
	UpstreamMicros float64 `json:"upstream_cpu_us_per_request"`
	Cores          float64 `json:"gateway_cores"`
	charged        uint64  // the requests that this was for
}

// GatewayRow is a peer's: medians over its turns of a kind with so many conns.
type GatewayRow struct {
	GatewayTurn
	// OverNginx is the median of the ratios to nginx's requests a second in the same repetition, 0 without both.
	OverNginx float64 `json:"over_nginx,omitempty"`
	// AddedP50, AddedP99 and AddedP999 are medians of the differences to PeerDirect in the same repetition, microseconds.
	AddedP50  float64 `json:"added_p50_us"`
	AddedP99  float64 `json:"added_p99_us"`
	AddedP999 float64 `json:"added_p999_us"`
}

// GatewayResult is a run's.
type GatewayResult struct {
	Host     HostCard          `json:"host"`
	Versions map[string]string `json:"versions"`
	// Missing says what was not measured, and why.
	Missing []string      `json:"missing,omitempty"`
	Workers int           `json:"workers"`
	Idle    int           `json:"idle_conns_per_worker"`
	Threads int           `json:"wrk_threads"`
	Seconds float64       `json:"seconds"`
	Turns   []GatewayTurn `json:"turns"`
	Rows    []GatewayRow  `json:"rows"`
	Bars    []Bar         `json:"bars"`
}
