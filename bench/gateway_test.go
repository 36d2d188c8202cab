package bench

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/bench/httpload"
	"weir/internal/golden"
)

func TestGatewayConfigIsHeldToItsRanges(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  GatewayConfig
		want []string
	}{
		{"zero is valid", GatewayConfig{}, nil},
		{"quick is valid", GatewayConfig{Peers: []string{PeerWeir}}.Quick(), nil},
		{"a peer twice", GatewayConfig{Peers: []string{PeerWeir, PeerWeir}}, []string{"--peers is weir: want some of direct, weir"}},
		{"no such peer", GatewayConfig{Peers: []string{"envoy"}}, []string{"--peers is envoy"}},
		{"open without its conns", GatewayConfig{Conns: []int{64}, Open: []int{65}}, []string{"--open is 65: want some of --conns"}},
		{"part of a second, which wrk does not know", GatewayConfig{Duration: 1500 * time.Millisecond}, []string{"--duration is 1.5s"}},
		{
			"all at once",
			GatewayConfig{Conns: []int{0, maxGatewayConns + 1}, Rate: 0.5, Reps: -1, Workers: 65, Idle: -1, Threads: 17, Quota: 9, Good: 251, PerClient: 1000, Abuse: 1},
			[]string{"--conns is 0", "--conns is 15001", "--rate is 0.5", "--reps is -1", "--workers is 65", "--idle is -1", "--threads is 17", "--quota is 9", "--good is 251", "--per-client is 1000", "--abuse is 1"},
		},
	} {
		err := tt.cfg.Validate()
		if (err == nil) != (len(tt.want) == 0) {
			t.Errorf("%s: %v", tt.name, err)
		}
		for _, want := range tt.want {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q, want %q", tt.name, err, want)
			}
		}
	}
}

func TestWrksReportIsFoundAndHeldToMeaning(t *testing.T) {
	const head = "Running 2s test @ http://127.0.0.1:18080/\n  1 threads and 64 connections\nRequests/sec:  33419.80\n"
	f, err := parseWrk([]byte(head + `{"requests":67030,"duration_us":2005697,"p50_us":1177,"p99_us":25133,"p999_us":69896,"max_us":73888,"connect":1,"read":2,"write":3,"status":4,"timeout":5}` + "\n"))
	want := wrkFigures{Requests: 67030, Micros: 2005697, P50: 1177, P99: 25133, P999: 69896, Max: 73888, Connect: 1, Read: 2, Write: 3, Status: 4, Timeout: 5}
	if err != nil || f != want {
		t.Errorf("%+v, %v", f, err)
	}
	for _, bad := range []string{"", head, head + "{\"requests\":1,\"duration_us\":0}\n", head + "{\"requests\":-1}\n", "unable to connect to 127.0.0.1:1 Connection refused\n"} {
		if f, err := parseWrk([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %+v", bad, f)
		}
	}
}

const abPrinted = `Concurrency Level:      64
Time taken for tests:   2.000 seconds
Complete requests:      95911
Failed requests:        7
   (Connect: 0, Receive: 0, Length: 7, Exceptions: 0)
Non-2xx responses:      3
Keep-Alive requests:    95910
Requests per second:    47953.94 [#/sec] (mean)
Time per request:       1.335 [ms] (mean)

Percentage of the requests served within a certain time (ms)
  50%      1
  66%      1
  99%      3
 100%     44 (longest request)
`

func TestABIsRead(t *testing.T) {
	f, err := parseAB([]byte(abPrinted))
	want := abFigures{Requests: 95911, PerSecond: 47953.94, Failed: 7, Refused: 3, KeptAlives: 95910, P50: 1, P99: 3, MaxMillis: 44}
	if err != nil || f != want {
		t.Errorf("%+v, %v", f, err)
	}
	for _, bad := range []string{"", "apr_socket_recv: Connection refused (111)\n", strings.Replace(abPrinted, "47953.94", "fast", 1)} {
		if f, err := parseAB([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %+v", bad, f)
		}
	}
}

func TestKeysOfAConfigurationAreKnownBySection(t *testing.T) {
	keys := configKeys("edge:\n  listen: \":8000\" # address: host:port\ngateway:\n  way: loops\n\nlog:\n  level: info # debug, info\n")
	for _, key := range []string{"edge.listen", "gateway.way", "log.level"} {
		if !keys[key] {
			t.Errorf("%s is not in %v", key, keys)
		}
	}
	if len(keys) != 3 {
		t.Error(keys)
	}
}

// TestGatewaysAreToldTheSame shows what each gateway is told, for each limit.
func TestGatewaysAreToldTheSame(t *testing.T) {
	for name, l := range map[string]limit{"far": limitFar, "all": limitAll, "client": limitClient, "none": limitNone} {
		var b strings.Builder
		c := peerConfig{
			listen: netip.MustParseAddrPort("127.0.0.1:81"), upstream: netip.MustParseAddrPort("127.0.0.1:80"), limit: l, quota: 500, conns: 64, workers: 2, idle: 512,
			dir: "/tmp/gateways", admin: "127.0.0.1:82", keys: map[string]bool{keyWay: true, keyLoops: true},
		}
		for _, p := range []struct {
			peer string
			text func(c peerConfig) string
		}{
			{PeerNginx, peerConfig.nginx},
			{PeerNginxAlike, peerConfig.nginx},
			{PeerHAProxy, peerConfig.haproxy},
			{PeerCaddy, peerConfig.caddy},
			{PeerWeir, func(c peerConfig) string { return c.weir("routes.yaml") + c.weirRoutes() }},
			{PeerWeirNet, func(c peerConfig) string { return c.weir("routes.yaml") }},
			{PeerWeirEscalate, func(c peerConfig) string {
				c.xdpInterface, c.settings = LabEdgeEnd, map[string]string{keyEscalate: `"on"`}
				return c.weir("routes.yaml")
			}},
		} {
			c.peer = p.peer
			b.WriteString("# " + p.peer + "\n" + p.text(c) + "\n")
		}
		golden.Check(t, filepath.Join("testdata", "gateway-"+name+".txt"), b.String())
	}
}

func TestOneOfTwoRoutesHasTheQuota(t *testing.T) {
	c := peerConfig{upstream: netip.MustParseAddrPort("127.0.0.1:80"), limit: limitBeside, workers: 2, idle: 512}
	golden.Check(t, filepath.Join("testdata", "gateway-beside.txt"), c.weirRoutes())
}

// gatewayTurnsOf are two repetitions in which figures are easy to tell apart.
func gatewayTurnsOf() (turns []GatewayTurn) {
	for rep, slower := range []float64{1, 2} {
		for peer, figures := range map[string]struct{ perSecond, p99, cpu float64 }{
			PeerDirect: {200_000, 100, 0}, PeerWeir: {120_000, 150, 5}, PeerWeirOpen: {121_000, 150, 4}, PeerNginx: {100_000, 160, 6}, PeerCaddy: {20_000, 900, 60},
		} {
			for _, kind := range []string{KindClosed, KindOpen, KindBeside, KindRefused} {
				turns = append(turns, GatewayTurn{
					Peer: peer, Kind: kind, Conns: 64, Rep: rep, Requests: 10, PerSecond: figures.perSecond / slower,
					P99: 50*float64(rep) + figures.p99, MicrosCPU: figures.cpu * slower,
				})
			}
		}
	}
	return turns
}

func TestGatewayRowsCompareWithinARepetition(t *testing.T) {
	rows := gatewayRows(gatewayTurnsOf())
	find := func(peer, kind string) GatewayRow {
		i := slices.IndexFunc(rows, func(r GatewayRow) bool { return r.Peer == peer && r.Kind == kind })
		if i < 0 {
			t.Fatalf("%s, %s has no row", peer, kind)
		}
		return rows[i]
	}
	w := find(PeerWeir, KindClosed)
	if w.PerSecond != 90_000 || w.OverNginx != 1.2 || w.Requests != 20 || w.MicrosCPU != 7.5 {
		t.Errorf("%+v", w)
	}
	if n := find(PeerNginx, KindOpen); n.AddedP99 != 60 {
		t.Errorf("%+v", n)
	}
	if rows[0].Peer != PeerDirect || rows[0].Kind != KindClosed || rows[len(rows)-1].Kind != KindRefused {
		t.Errorf("first %s, %s, last %s", rows[0].Peer, rows[0].Kind, rows[len(rows)-1].Kind)
	}
}

func TestTheRateOfAllIsAQuarterOfTheSlowestThatBarsAreOf(t *testing.T) {
	turns := gatewayTurnsOf()
	if r := openRate(turns, 64); r != 18_750 { // nginx: 100,000 and 50,000
		t.Errorf("%v", r)
	}
	if r := openRate(slices.DeleteFunc(turns, func(t GatewayTurn) bool { return t.Peer != PeerCaddy }), 64); r != 3_750 {
		t.Errorf("of caddy alone %v", r)
	}
	if r := openRate(nil, 64); r != 1 {
		t.Errorf("of nothing %v", r)
	}
}

func TestGatewayBars(t *testing.T) {
	find := func(bars []Bar, name string) Bar {
		i := slices.IndexFunc(bars, func(b Bar) bool { return strings.HasPrefix(b.Name, name) })
		if i < 0 {
			t.Fatalf("no bar %q in %v", name, bars)
		}
		return bars[i]
	}
	turns := gatewayTurnsOf()
	bars := gatewayBars(turns)
	for _, tt := range []struct {
		name   string
		figure float64
		bar    float64
		met    bool
	}{
		{"requests/s at 64", 1.2, 1.1, true},
		{"added p99 at 64", 50, 60, true},
		{"p99 at 64 connections and one rate: weir / weir without", 1, 1.03, true},
		{"p99 at 64 connections, of one weir at one time", 1, 1.03, true},
		{"CPU of a 429", 5.0 / 6, 1, true},
		{"requests that failed", 0, 0, true},
	} {
		if b := find(bars, tt.name); b.Figure != tt.figure || b.Bar != tt.bar || b.Met != tt.met || b.Skipped != "" {
			t.Errorf("%+v", b)
		}
	}
	for _, name := range []string{"requests/s at 5,000", "added p99 at 5,000"} {
		if b := find(bars, name); b.Skipped == "" {
			t.Errorf("%+v", b)
		}
	}
	for i := range turns {
		if t := &turns[i]; t.Peer == PeerWeir {
			t.P99, t.PerSecond, t.MicrosCPU, t.Errors = t.P99*2, t.PerSecond/2, t.MicrosCPU*2, 1
		}
	}
	for _, b := range gatewayBars(turns) {
		if b.Met {
			t.Errorf("met though weir is slower: %+v", b)
		}
	}
	for _, b := range gatewayBars(nil) {
		if b.Skipped == "" {
			t.Errorf("of nothing: %+v", b)
		}
	}
}

func TestAbuseBarsTellNothingFromLessThanATick(t *testing.T) {
	turns := []AbuseTurn{
		{Peer: PeerWeir429, AbuserCores: 0.3, OnlyCores: 0.4, P99Ratio: 3},
		{Peer: PeerWeirEscalate, AbuserCores: 0.01, OnlyCores: 0.01, P99Ratio: 1},
		{Peer: PeerWeir429, Rep: 1, AbuserCores: 0.3, OnlyCores: 0.4},
		{Peer: PeerWeirEscalate, Rep: 1, AbuserCores: -0.001, OnlyCores: -0.02, P99Ratio: 1.25},
		{Peer: PeerNginx, AbuserCores: 0.2, P99Ratio: 9},
	}
	bars := abuseBars(turns, 10) // a tick each of three times in 10 s: 0.003 cores
	if b := bars[0]; !b.Met || b.Figure < 64.9 || b.Figure > 65.1 || !strings.Contains(b.Note, "0.0030 cores") {
		t.Errorf("%+v", b)
	}
	if b := bars[1]; !b.Met || b.Figure != 30 || strings.Contains(b.Note, "cannot be told") {
		t.Errorf("%+v", b)
	}
	if b := bars[2]; !b.Met || b.Figure != 1.125 {
		t.Errorf("%+v", b)
	}
	for _, b := range abuseBars(turns[:1], 10) {
		if b.Skipped == "" {
			t.Errorf("%+v", b)
		}
	}
}

func TestAGoodClientWithoutItsAnswerIsAFailure(t *testing.T) {
	r := &AbuseResult{Turns: []AbuseTurn{
		{Peer: PeerWeir429, Alone: AbusePhase{Good: &httpload.Report{Due: 10, OK: 10}}, Abused: AbusePhase{Good: &httpload.Report{Due: 10, OK: 10, Refused: 1}}},
		{Peer: PeerNginx, Abused: AbusePhase{Good: &httpload.Report{Due: 10}}},
	}}
	if r.Failed() {
		t.Error("all good clients of weir got their answers")
	}
	if r.Turns[0].Abused.Good.OK = 9; !r.Failed() {
		t.Error("one did not")
	}
}

func TestAProgramThatIsMissingIsNamedWithItsPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := lookProgram("weir-no-such"); err == nil || !strings.Contains(err.Error(), "apt-get install weir-no-such") {
		t.Error(err)
	}
	if packageOf("ab") != "apache2-utils" {
		t.Error(packageOf("ab"))
	}
}

func TestGatewayTables(t *testing.T) {
	turns := gatewayTurnsOf()
	turns = append(turns, GatewayTurn{Peer: PeerWeir, Kind: KindAB, Conns: 64, PerSecond: 90_000, P50: 1000, P99: 2000, Errors: 3})
	r := &GatewayResult{Missing: []string{"haproxy is left out: it is missing"}, Seconds: 5, Turns: turns, Rows: gatewayRows(turns), Bars: gatewayBars(turns)}
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/gatewaytable.txt", b.String())
	abuse := &AbuseResult{Good: 100, PerClient: 20, Quota: 500, Times: 20, Seconds: 10}
	for _, peer := range []string{PeerWeir429, PeerNginx} {
		abuse.Turns = append(abuse.Turns, AbuseTurn{
			Peer: peer, AbuserCores: 0.2, OnlyCores: 0.25, P99Ratio: 1.5,
			Alone:  AbusePhase{NodeCores: 0.1, GoodP50: 100, GoodP99: 200},
			Abused: AbusePhase{NodeCores: 0.3, Softirq: 0.1, Gateway: 0.08, Upstream: 0.02, GoodP50: 150, GoodP99: 300, Abuser: &httpload.Report{OK: 1, Refused: 2, Lost: 3, Unsent: 4}},
		})
	}
	abuse.Bars = abuseBars(abuse.Turns, 10)
	b.Reset()
	if err := abuse.Print(&b); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/gatewayabusetable.txt", b.String())
}
