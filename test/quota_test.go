package test

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/bpf/xdp"
)

// quota runs weir quota against a process.
func (p *process) quota(args ...string) (stdout, stderr string, code int) {
	p.tb.Helper()
	return weir(p.tb, append(append([]string{"quota"}, args...), "--admin", "http://"+p.admin)...)
}

// must is quota that succeeds, and what it prints.
func (p *process) must(args ...string) string {
	p.tb.Helper()
	out, errs, code := p.quota(args...)
	if code != 0 {
		p.tb.Fatalf("weir quota %s: %d %s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

const policyFile = `mode: shadow
classes:
  default:
    packets: 100000/s
    concurrent: 5000
    aggregate: {ipv6_prefix: 48, packets: 200000/s}
    unproved: {packets: 50000/s, syns: 5000/s}
  guests:
    packets: 100/s
    bytes: 1MB/s
    connections: 10/s
prefixes:
  127.0.0.77/32: guests
  "2001:db8::/48": guests
deny: [198.51.100.0/24]
pass: [fragment]
`

// TestE2EQuotaCommands does what an operator does: shows, sets, lists, applies a policy and lets it
// come back, explains, watches drops.
func TestE2EQuotaCommands(t *testing.T) {
	bpftest.Require(t, "5.15", "XDP")
	p := serve(t, "--xdp", "on", "--interface", "lo")
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(policyFile), 0o600); err != nil {
		t.Fatal(err)
	}
	first := p.must("show", "--policy")
	if out := p.must("apply", file, "--confirm", "1s"); !strings.Contains(out, "mode shadow, until ") {
		t.Errorf("apply: %s", out)
	}
	conn, _, err := p.raw("/ws/a")
	if err != nil {
		t.Fatal(err)
	}
	if out, errs, code := weir(t, "why", "--admin", "http://"+p.admin, conn.LocalAddr().String()); code != 0 || !strings.Contains(out, "late at most") || !strings.Contains(out, "class") || !strings.Contains(out, "mode") {
		t.Errorf("weir why: %d %s%s", code, out, errs)
	}
	if out := p.must("explain", "2001:db8::9"); !strings.Contains(out, "guests") || !strings.Contains(out, "listed as") || !strings.Contains(out, "it has no slot") {
		t.Errorf("explain: %s", out)
	}
	p.until("the policy before", func() error {
		if now := p.must("show", "--policy"); now != first {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	if _, errs, code := p.quota("confirm"); code != 1 || !strings.Contains(errs, "no policy waits") {
		t.Errorf("confirm too late: %d %s", code, errs)
	}
	p.must("apply", file)
	if out := p.must("confirm"); !strings.Contains(out, "stays") {
		t.Errorf("confirm: %s", out)
	}
	p.must("set", "mode=enforce", "packets=90000/s", "unproved.syns=")
	p.must("set", "--class", "guests", "packets=1/s", "packets_burst=3")
	p.must("allow", "203.0.113.7")
	p.must("class", "guests", "203.0.113.0/24")
	p.must("unlist", "198.51.100.0/24")
	after := p.must("show", "--policy")
	for _, want := range []string{"packets: 90000/s", "packets_burst: 3", `"203.0.113.0/24": guests`, `allow: ["203.0.113.7/32"]`, "deny: []", "concurrent: 5000"} {
		if !strings.Contains(after, want) {
			t.Errorf("%q is not in\n%s", want, after)
		}
	}
	if strings.Contains(after, "syns: 5000/s") {
		t.Error("a quota that was emptied is there")
	}
}

func TestE2EQuotaMistakesChangeNothing(t *testing.T) {
	bpftest.Require(t, "5.15", "XDP")
	p := serve(t, "--xdp", "on", "--interface", "lo")
	before := p.must("show", "--policy")
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	const text = `classes:
  default:
    packts: 5/s
    packets: fast
    bytes: 1MB/s
    bytes_burst: 100
deny: [192.0.2.300, 198.51.100.0/24]
allow: [198.51.100.0/24]
`
	if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"apply", bad}, 1, []string{
			"bad.yaml:3: classes.default.packts is not a key: did you mean packets?", `classes.default.packets bad rate "fast"`,
			"192.0.2.300", "198.51.100.0/24 is listed twice",
		}},
		{[]string{"apply", bad + ".none"}, 1, []string{"no such file"}},
		{[]string{"set", "packets"}, 2, []string{`"packets": want KEY=VALUE`}},
		{[]string{"set", "packts=5/s"}, 1, []string{"did you mean packets?"}},
		{[]string{"set", "packets=99999999999/s"}, 1, []string{"at most 10000000/s"}},
		{[]string{"set", "mode=loud"}, 1, []string{"want off, shadow, enforce or under-attack"}},
		{[]string{"set", "--class", "none", "packets=5/s"}, 1, []string{`there is no class "none"`}},
		{[]string{"deny", "192.0.2"}, 1, []string{"want a prefix"}},
		{[]string{"deny", "2001:db8::7"}, 1, []string{"clients of 2001:db8::/64 are one"}},
		{[]string{"class", "none", "192.0.2.0/24"}, 1, []string{`there is no class "none"`}},
		{[]string{"explain", "nobody"}, 1, []string{"want an address"}},
		{[]string{"events", "--per-second", "0"}, 1, []string{"1 to 255"}},
	} {
		_, errs, code := p.quota(tt.args...)
		for _, want := range tt.want {
			if code != tt.code || !strings.Contains(errs, want) {
				t.Errorf("%v: %d %q, want %d, %q", tt.args, code, errs, tt.code, want)
			}
		}
	}
	if after := p.must("show", "--policy"); after != before {
		t.Errorf("the policy is now\n%s", after)
	}
}

// TestE2EQuotaThatCutsOffTheOperatorIsRefused: the command says from where it was started over SSH.
func TestE2EQuotaThatCutsOffTheOperatorIsRefused(t *testing.T) {
	bpftest.Require(t, "5.15", "XDP")
	p := serve(t, "--xdp", "on", "--interface", "lo")
	t.Setenv("SSH_CONNECTION", "192.0.2.9 50000 192.0.2.1 22")
	if _, errs, code := p.quota("deny", "192.0.2.0/24"); code != 1 || !strings.Contains(errs, "it would cut off 192.0.2.9 (the operator's SSH)") {
		t.Errorf("%d %s", code, errs)
	}
	p.must("deny", "--force", "192.0.2.0/24")
}

func TestE2EQuotaEvents(t *testing.T) {
	bpftest.Require(t, "5.15", "XDP")
	p := serve(t, "--xdp", "on", "--interface", "lo")
	p.must("deny", "127.0.0.66")
	file := filepath.Join(t.TempDir(), "drops.pcapng")
	for _, args := range [][]string{{"--count", "2"}, {"--count", "2", "--json"}, {"--count", "2", "--write", file}} {
		cmd := exec.Command(binary(t), append([]string{"quota", "events", "--admin", "http://" + p.admin}, args...)...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		packets, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 66)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
		if err != nil {
			t.Fatal(err)
		}
		for done, deadline := false, time.Now().Add(patience); !done; {
			_, _ = packets.Write([]byte("hello")) // dropped
			select {
			case err := <-ended:
				if err != nil {
					t.Fatalf("%v: %v\n%s", args, err, &out)
				}
				done = true
			case <-time.After(20 * time.Millisecond):
				if time.Now().After(deadline) {
					t.Fatalf("%v: no events: %s", args, &out)
				}
			}
		}
		_ = packets.Close()
		switch {
		case len(args) == 2:
			if !strings.Contains(out.String(), "dropped 127.0.0.66:") || !strings.Contains(out.String(), "denied: the source is on the deny list") {
				t.Errorf("%s", &out)
			}
		case args[2] == "--json":
			var e struct {
				Reason, From string
				Dropped      bool
			}
			if err := json.Unmarshal(bytes.SplitN(out.Bytes(), []byte("\n"), 2)[0], &e); err != nil || e.Reason != "denied" || !e.Dropped {
				t.Errorf("%+v, %v", e, err)
			}
		default:
			raw, err := os.ReadFile(file)
			if err != nil || !bytes.Contains(raw, []byte("denied: the source is on the deny list")) {
				t.Errorf("%d bytes, %v", len(raw), err)
			}
		}
	}
	if out := p.must("top"); !strings.Contains(out, "CLIENT") {
		t.Errorf("top: %s", out)
	}
}

// TestE2EPinnedQuotasOutliveWeir: killed, it goes on dropping; the next start takes over; unpin lets
// it go.
func TestE2EPinnedQuotasOutliveWeir(t *testing.T) {
	bpftest.Require(t, "5.15", "XDP")
	t.Setenv("WEIR_XDP_PIN", "true")
	t.Setenv("WEIR_XDP_SLOTS", "65536")
	t.Cleanup(func() { _ = xdp.Unpin("", "lo") }) // if it failed on the way
	p := serve(t, "--xdp", "on", "--interface", "lo")
	p.kill()
	attached := func() bool {
		out, err := exec.Command("ip", "link", "show", "lo").CombinedOutput()
		return err == nil && strings.Contains(string(out), "xdp")
	}
	if !attached() {
		t.Error("it is not attached any more")
	}
	p = serve(t, "--xdp", "on", "--interface", "lo")
	if out := p.must("show"); !strings.Contains(out, "pinned       true") {
		t.Errorf("%s", out)
	}
	p.kill()
	t.Setenv("WEIR_XDP_SLOTS", "131072")
	_, errs, code := weir(t, "serve", "--xdp", "on", "--interface", "lo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	if code != 1 || !strings.Contains(errs, "its slots is 65536, the configuration's 131072") || !strings.Contains(errs, "weir quota unpin lo") {
		t.Errorf("another size: %d %s", code, errs)
	}
	if out, errs, code := weir(t, "quota", "unpin", "lo"); code != 0 || !strings.Contains(out, "nothing of weir is pinned for lo") {
		t.Errorf("unpin: %d %s%s", code, out, errs)
	}
	if attached() {
		t.Error("it is still attached")
	}
}
