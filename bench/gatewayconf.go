package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Quotas of the gateways: one that no load here meets, and one that all but the first request of a minute are over.
const (
	farPerSecond = 1_000_000
	allPerMinute = 1
)

// besidePath has a quota where the rest has none, see [KindBeside].
const besidePath = "/limited"

// nginxMain is what an nginx of ours begins with. Refusals are not logged, as nothing is in any gateway.
func nginxMain(dir, name string, workers int) string {
	return fmt.Sprintf(`daemon off;
worker_processes %[3]d;
pid %[1]s/%[2]s.pid;
error_log stderr crit;
events { worker_connections 19000; }
http {
	access_log off;
	keepalive_requests 1000000000;
	keepalive_timeout 600s;
	client_body_temp_path %[1]s/%[2]s-body;
	proxy_temp_path %[1]s/%[2]s-proxy;
	fastcgi_temp_path %[1]s/%[2]s-fastcgi;
	uwsgi_temp_path %[1]s/%[2]s-uwsgi;
	scgi_temp_path %[1]s/%[2]s-scgi;
`, dir, name, workers)
}

const upstreamServer = `	default_type text/plain;
	server {
		listen %s backlog=4096 reuseport;
		location / { return 200 "ok\n"; }
	}
}
`

func (c peerConfig) nginx() string {
	var b strings.Builder
	b.WriteString(nginxMain(c.dir, c.peer, c.workers))
	limit := ""
	if c.limit != limitNone {
		rate, burst := fmt.Sprintf("%dr/s", farPerSecond), farPerSecond
		switch c.limit {
		case limitAll:
			rate, burst = fmt.Sprintf("%dr/m", allPerMinute), 0
		case limitClient:
			rate, burst = fmt.Sprintf("%dr/s", c.quota), c.quota
		}
		fmt.Fprintf(&b, "\tlimit_req_zone $binary_remote_addr zone=clients:16m rate=%s;\n\tlimit_req_status 429;\n\tlimit_req_log_level info;\n", rate)
		if limit = "limit_req zone=clients; "; burst > 0 {
			limit = fmt.Sprintf("limit_req zone=clients burst=%d nodelay; ", burst)
		}
	}
	tells := ""
	if c.peer == PeerNginxAlike {
		tells = " proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;" +
			" proxy_set_header X-Real-Ip $remote_addr; proxy_set_header X-Request-Id $request_id; add_header X-Request-Id $request_id always;"
	}
	fmt.Fprintf(&b, `	upstream app {
		server %s;
		keepalive %d;
		keepalive_requests 1000000000;
		keepalive_timeout 600s;
	}
	server {
		listen %s backlog=4096 reuseport;
		location / { %sproxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";%s }
	}
}
`, c.upstream, c.idle, c.listen, limit, tells)
	return b.String()
}

func (c peerConfig) haproxy() string {
	limit := ""
	if c.limit != limitNone {
		period, most := "10s", 10*farPerSecond
		switch c.limit {
		case limitAll:
			period, most = "60s", 0 // the first is over it too
		case limitClient:
			period, most = "1s", c.quota
		}
		limit = fmt.Sprintf("\tstick-table type ip size 1m expire 60s store http_req_rate(%s)\n\thttp-request track-sc0 src\n\thttp-request deny deny_status 429 if { sc_http_req_rate(0) gt %d }\n", period, most)
	}
	// Both sides together stay within the descriptors of a process; a request that finds none left waits. It keeps conns to
	// servers while a part of the descriptors that maxconn stands for is free: a low one would have it open one a request.
	return fmt.Sprintf(`global
	nbthread %d
	maxconn %d
	no strict-limits
	tune.pool-low-fd-ratio 90
	tune.pool-high-fd-ratio 95
defaults
	mode http
	timeout connect 5s
	timeout client 600s
	timeout server 600s
	timeout queue 60s
	option http-keep-alive
	http-reuse always
listen gateway
	bind %s backlog 4096
%s	server app %s maxconn %d pool-max-conn %d
`, c.workers, max(c.conns+100, 10_000), c.listen, limit, c.upstream, c.upstreamConns(), c.idle*c.workers)
}

// upstreamConns bounds the conns to the upstream of a gateway in one process, which has those of its clients as well.
func (c peerConfig) upstreamConns() int { return maxGatewayConns + 4000 - c.conns }

func (c peerConfig) caddy() string {
	return fmt.Sprintf(`{
	admin off
	auto_https off
	log {
		level ERROR
	}
}
http://%s {
	bind %s
	reverse_proxy %s {
		transport http {
			keepalive 600s
			keepalive_idle_conns_per_host %d
		}
	}
}
`, c.listen, c.listen.Addr(), c.upstream, c.idle*c.workers)
}

// weir is the file of its settings.
func (c peerConfig) weir(routes string) string {
	settings := map[string]string{
		"gateway.listen": c.listen.String(), "gateway.routes": routes, "gateway.max_conns": fmt.Sprint(c.conns + 100),
		"admin.listen": c.admin, "log.level": "error", "xdp.enabled": `"off"`,
	}
	if c.xdpInterface != "" {
		settings["xdp.enabled"], settings["xdp.interface"], settings["xdp.attach"] = `"on"`, c.xdpInterface, "native"
	}
	for key, value := range map[string]string{keyWay: c.way(), keyLoops: fmt.Sprint(c.workers)} {
		if c.keys[key] {
			settings[key] = value
		}
	}
	maps.Copy(settings, c.settings)
	return yaml(settings)
}

// Keys of a weir that not every one has.
const (
	keyWay      = "gateway.way"
	keyLoops    = "gateway.loops"
	keyEscalate = "gateway.escalate"
)

func (c peerConfig) way() string {
	if c.peer == PeerWeirNet {
		return "net"
	}
	return "loops"
}

// yaml writes settings, section.key each.
func yaml(settings map[string]string) string {
	sections := map[string][]string{}
	for key, value := range settings {
		section, name, _ := strings.Cut(key, ".")
		sections[section] = append(sections[section], fmt.Sprintf("  %s: %s\n", name, value))
	}
	var lines []string
	for section, keys := range sections {
		slices.Sort(keys)
		lines = append(lines, section+":\n"+strings.Join(keys, ""))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// weirRoutes is the file of what it serves by.
func (c peerConfig) weirRoutes() string {
	var b strings.Builder
	fmt.Fprintf(&b, "upstreams:\n  app: {servers: [%q], idle_conns: %d, idle_conn_timeout: 10m}\n", c.upstream, c.idle*c.workers)
	policies := ""
	if c.limit != limitNone {
		quota, burst := fmt.Sprintf("%d/s", farPerSecond), farPerSecond
		switch c.limit {
		case limitAll:
			quota, burst = fmt.Sprintf("%d/min", allPerMinute), 1
		case limitClient:
			quota, burst = fmt.Sprintf("%d/s", c.quota), c.quota
		}
		fmt.Fprintf(&b, "policies:\n  clients: {quota: %s, burst: %d, key: [address]}\n", quota, burst)
		policies = ", policies: [clients]"
	}
	all := policies
	if c.limit == limitBeside {
		all = ""
	}
	fmt.Fprintf(&b, "routes:\n  all: {path: /, upstream: app%s}\n", all)
	if c.limit == limitBeside {
		fmt.Fprintf(&b, "  limited: {path: %s, upstream: app%s}\n", besidePath, policies)
	}
	return b.String()
}

// configKeys are those that `weir gateway --print-config` shows, section.key each.
func configKeys(printed string) map[string]bool {
	keys, section := map[string]bool{}, ""
	for line := range strings.Lines(printed) {
		name, _, ok := strings.Cut(strings.TrimSpace(line), ":")
		switch {
		case !ok:
		case !strings.HasPrefix(line, " "):
			section = name
		default:
			keys[section+"."+name] = true
		}
	}
	return keys
}
