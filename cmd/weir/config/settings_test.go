package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLimitsOfClientsAreReadAndChecked(t *testing.T) {
	c, err := Load("", []string{"WEIR_EDGE_ACCEPT_RATE=5_000/s", "WEIR_EDGE_ACCEPT_RATE_PER_PREFIX=1/10s", "WEIR_EDGE_PROXY_PROTOCOL=192.0.2.1,2001:db8::/32", "WEIR_EDGE_MAX_CONNS_PER_PREFIX=100"})
	if err != nil {
		t.Fatal(err)
	}
	printed := c.Print()
	for _, want := range []string{`accept_rate: "5000/s"`, `accept_rate_per_prefix: "1/10s"`, `proxy_protocol: ["192.0.2.1/32", "2001:db8::/32"]`, "max_conns_per_prefix: 100"} {
		if !strings.Contains(printed, want) {
			t.Errorf("no %s in\n%s", want, printed)
		}
	}
	if c, err = Load("", []string{"WEIR_EDGE_ACCEPT_RATE=1/s", "WEIR_EDGE_ACCEPT_RATE="}); err != nil || !strings.Contains(c.Print(), `accept_rate: ""`) {
		t.Errorf("an empty rate: %v", err)
	}
	for text, want := range map[string]string{
		"accept_rate: fast":                       `x:2: edge.accept_rate is "fast": want a count per s, min, h or d`,
		"accept_rate: [1/s]":                      "x:2: edge.accept_rate is a list",
		"accept_rate_per_prefix: 20000000/s":      "x:2: edge.accept_rate_per_prefix is 20000000/s: want 1/365d to 10000000/s",
		"prefix_ipv4: 40":                         "x:2: edge.prefix_ipv4 is 40: want 1 to 32",
		"max_conns_per_prefix: -1":                "x:2: edge.max_conns_per_prefix is -1: want 0 (no limit)",
		"proxy_protocol: [lb1]":                   `x:2: edge.proxy_protocol is "lb1": want a prefix such as`,
		`proxy_protocol: ["::ffff:10.0.0.0/104"]`: "x:2: edge.proxy_protocol is ::ffff:10.0.0.0/104: want prefixes such as",
	} {
		if _, err := Parse("x", []byte("edge:\n  "+text+"\n")); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestSecretIsReadFromAFileAndNeverPrinted(t *testing.T) {
	const secret = "0123456789abcdef0123"
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load("", []string{"WEIR_BUS_SECRET_FILE=" + path, "WEIR_BUS_SERVERS=nats://a:1,nats://b:2"})
	if err != nil || c.Bus.Secret != secret || len(c.Bus.Servers) != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	if strings.Contains(c.Print(), secret) {
		t.Error("it is printed")
	}
	for name, env := range map[string][]string{
		"keep one":       {"WEIR_BUS_SECRET_FILE=" + path, "WEIR_BUS_SECRET=" + secret},
		"cannot be read": {"WEIR_BUS_SECRET_FILE=" + path + ".none"},
		"16 to 256":      {"WEIR_BUS_SECRET=short!"},
		"nats://host":    {"WEIR_BUS_SERVERS=nats://me:pass@a:1"},
	} {
		if _, err := Load("", env); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "short!") || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
