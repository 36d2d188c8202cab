package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/bpf/xdp"
	"weir/internal/golden"
	"weir/ratelimit/kernel"
)

const wholePolicy = `mode: under-attack
classes:
  default:
    ipv4_prefix: 24
    packets: 5000/s
    packets_burst: 10000
    bytes: 12500kB/s
    bytes_burst: 1MiB
    connections: 50/s
    connections_burst: 100
    concurrent: 500
    aggregate:
      ipv6_prefix: 48
      packets: 20000/s
    unproved:
      packets: 200000/s
      bytes: 1GB/s
      syns: 20000/s
      syns_burst: 40000
  trusted:
    proof: none
prefixes:
  203.0.113.0/24: trusted
  2001:db8::/32: trusted
allow: [192.0.2.0/28, 192.0.2.77]
deny: [198.51.100.0/24]
pass: [fragment, ext_depth]
`

func TestPolicyIsReadAndPrintedBack(t *testing.T) {
	p, mode, err := ParsePolicy("policy.yaml", []byte(wholePolicy))
	if err != nil || mode == nil || *mode != xdp.ModeUnderAttack {
		t.Fatalf("%v, %v", mode, err)
	}
	if c := p.ClassOf(p.Entries[0].Prefix.Addr()); !c.NoProof || c.Name != "trusted" {
		t.Errorf("%+v", c)
	}
	printed := PrintPolicy(p)
	golden.Check(t, filepath.Join("testdata", "policy.yaml"), printed)
	again, _, err := ParsePolicy("printed", []byte(printed))
	if err != nil || PrintPolicy(again) != printed {
		t.Errorf("read back as\n%s, %v", PrintPolicy(again), err)
	}
}

const policyMistakes = `mode: loud
classes:
  default:
    packts: 5/s
    packets: 0/s
    bytes: 5
    concurrent: none
    ipv4_prefix: [24]
    unproved: {synz: 5/s}
    packets: 5/s
  slow:
    bytes: 1MB/s
    proof: maybe
    aggregate: 48
prefixes:
  192.0.2.0/33: slow
  192.0.2.0/24: slow
allow: [192.0.2.0/24, nobody]
deny: 198.51.100.0/24
pass: [quota_packets, everything]
clases: {}
`

func TestMistakesInAPolicyAreReportedWithLineAndRemedy(t *testing.T) {
	_, _, err := ParsePolicy("policy.yaml", []byte(policyMistakes))
	if err == nil {
		t.Fatal("it is taken")
	}
	golden.Check(t, filepath.Join("testdata", "policy_mistakes.txt"), err.Error()+"\n")
}

func TestPolicyOutOfRangeIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"classes: {a: {packets: 5/s}}":                           "there is no class default",
		"classes: {default: {packets: 99999999/s}}":              "at most 10000000/s",
		"classes: {default: {bytes: 1MB/s, bytes_burst: 100}}":   "the burst is below a packet",
		"classes: {default: {aggregate: {packets: 5/s}}}":        "it has quotas and no prefix",
		"classes: {default: {}}\nprefixes: {192.0.2.0/24: gold}": `there is no class "gold"`,
		"classes: [default]":                                     "is not a mapping",
		"classes: {default: {}}\nprefixes: [192.0.2.0/24]":       "is not a mapping",
		"classes: {default: {packets: [5/s, 6/s]}}":              "is a list",
		"- a":                   "is not a mapping",
		"classes: {default: {}": "it is not YAML",
	} {
		if _, _, err := ParsePolicy("p", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestSectionsPolicyIsItsFilesOrItsOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(wholePolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load("", []string{"WEIR_XDP_POLICY=" + file, "WEIR_XDP_DENY=233.252.0.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	p, mode, err := c.XDP.Quotas()
	if err != nil || *mode != xdp.ModeUnderAttack || len(p.Entries) != 6 {
		t.Errorf("%d entries, %v, %v", len(p.Entries), mode, err)
	}
	if c, err = Load("", []string{"WEIR_XDP_PACKETS=7/s", "WEIR_XDP_BYTES=1MB/s", "WEIR_XDP_CONNECTIONS=", "WEIR_XDP_ALLOW=192.0.2.1"}); err != nil {
		t.Fatal(err)
	}
	if p, mode, err = c.XDP.Quotas(); err != nil || mode != nil || len(p.Entries) != 1 || p.Classes[0].Client.Packets.Count != 7 || p.Classes[0].Client.Connections.Count != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	for _, env := range [][]string{{"WEIR_XDP_PACKETS=fast"}, {"WEIR_XDP_SYNS=0/s"}, {"WEIR_XDP_ALLOW=192.0.2.1", "WEIR_XDP_DENY=192.0.2.1"}, {"WEIR_XDP_POLICY=" + file + ".none"}} {
		c, err := Load("", env)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.XDP.Quotas(); err == nil {
			t.Errorf("%v is taken", env)
		}
	}
}

func TestSetQuotasKeepsWhatItDoesNotName(t *testing.T) {
	p, _, err := ParsePolicy("policy.yaml", []byte(wholePolicy))
	if err != nil {
		t.Fatal(err)
	}
	if err := SetQuotas(&p, "", map[string]string{"packets": "7/s", "unproved.syns": "", "unproved.syns_burst": "", "aggregate.concurrent": "9"}); err != nil {
		t.Fatal(err)
	}
	var c kernel.Class
	for _, each := range p.Classes {
		if each.Name == kernel.Default {
			c = each
		}
	}
	if c.Client.Packets.Count != 7 || c.Client.PacketBurst != 10000 || c.Unproved.SYNs.Count != 0 || c.Unproved.Packets.Count != 200000 || c.Aggregate.Concurrent != 9 || c.Aggregate.IPv6Bits != 48 {
		t.Errorf("%+v", c)
	}
	if err := SetQuotas(&p, "trusted", map[string]string{"packets": "5/s"}); err != nil || !p.ClassOf(p.Entries[0].Prefix.Addr()).NoProof {
		t.Errorf("proof is forgotten: %v", err)
	}
	for key, value := range map[string]string{"packts": "5/s", "packets": "fast", "unproved.synz": "5/s", "mode": "off"} {
		if err := SetQuotas(&p, "", map[string]string{key: value}); err == nil {
			t.Errorf("%s=%s is taken", key, value)
		}
	}
}
