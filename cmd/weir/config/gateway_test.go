package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/gateway/trace"
)

func TestWhereTracesGoIsReadAndChecked(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	for path, text := range map[string]string{good: "X-Key: s3kr1t\n", bad: "# fine\ns3kr1t\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load("", []string{"WEIR_GATEWAY_TRACE_ENDPOINT=http://a:4318", "WEIR_GATEWAY_TRACE_HEADERS_FILE=" + good, "WEIR_GATEWAY_TRACE_SAMPLE=.5", "WEIR_GATEWAY_TRACE_FROM=all", "WEIR_GATEWAY_TRACE_SERVICE=edge"})
	if err != nil {
		t.Fatal(err)
	}
	got := c.Gateway.Trace
	if got.Endpoint != "http://a:4318" || got.Sample != .5 || got.From != trace.FromAll || got.Service != "edge" || got.Header["X-Key"] != "s3kr1t" || strings.Contains(c.Print(), "s3kr1t") {
		t.Errorf("%+v", got)
	}
	for want, env := range map[string][]string{
		"WEIR_GATEWAY_TRACE_FROM: is \"some\": want proxies, all, none":                             {"WEIR_GATEWAY_TRACE_FROM=some"},
		"WEIR_GATEWAY_TRACE_SAMPLE: is \"2\": want a part, 0 to 1":                                  {"WEIR_GATEWAY_TRACE_SAMPLE=2"},
		"gateway.trace_endpoint is no such URL: want http://HOST:4318 or https://HOST/PATH":         {"WEIR_GATEWAY_TRACE_ENDPOINT=a:4318"},
		"gateway.trace_headers_file is set, and spans go nowhere: set gateway.trace_endpoint":       {"WEIR_GATEWAY_TRACE_HEADERS_FILE=" + good},
		"gateway.trace_headers_file is \"" + bad + "\": line 2 of the headers is none: want NAME: ": {"WEIR_GATEWAY_TRACE_ENDPOINT=http://a", "WEIR_GATEWAY_TRACE_HEADERS_FILE=" + bad},
		"gateway.trace_headers_file cannot be read: open " + good + ".none":                         {"WEIR_GATEWAY_TRACE_ENDPOINT=http://a", "WEIR_GATEWAY_TRACE_HEADERS_FILE=" + good + ".none"},
	} {
		if _, err := Load("", env); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3kr1t") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestIdentityHeaderIsNoneThatFramesAMessage(t *testing.T) {
	for _, name := range []string{"Content_Length", "Connection", "host", "A: b", "A\r\nB"} {
		_, err := Load("", []string{"WEIR_GATEWAY_IDENTITY_HEADER=" + name})
		if want := "gateway.identity_header is " + name + ": want the name of a header that neither frames a message nor is of one hop"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestTheSharedStoreIsReadAndChecked(t *testing.T) {
	c, err := Load("", []string{"WEIR_REDIS_ADDRESSES=a:1,b:2", "WEIR_REDIS_LEASES=512", "WEIR_REDIS_LEASE_AGE=2s", "WEIR_REDIS_GATEWAYS=4"})
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Gateway.Redis; len(r.Addresses) != 2 || r.Leases != 512 || r.LeaseAge != 2*time.Second || r.Gateways != 4 {
		t.Errorf("%+v", r)
	}
	for text, want := range map[string]string{
		"leases: 1":      "x:3: redis.leases is 1: want 256 to 1048576",
		"lease_age: 1s2": `x:3: redis.lease_age is "1s2": want a number with a unit (ms, s, m, h), such as 10s`,
		"lease_age: 2m":  "x:3: redis.lease_age is 2m0s: want 10ms to 1m",
		"timeout: 2s":    "x:3: redis.timeout is 2s: want 100us to 1s",
		"gatways: 4":     "x:3: redis.gatways is not a key: did you mean gateways?",
	} {
		if _, err := Parse("x", []byte("redis:\n  addresses: [a:1]\n  "+text+"\n")); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestAHostAndItsPortAreOneTextAlsoInBraces(t *testing.T) {
	for text, want := range map[string]string{
		"redis: {addresses: [10.0.0.5:6379]}":               `["10.0.0.5:6379"]`,
		"redis: {addresses: [a:1, b:2]}":                    `["a:1", "b:2"]`,
		"redis: {addresses: [\"[2001:db8::1]:1\"]}":         `["[2001:db8::1]:1"]`,
		"redis:\n  addresses: [a:1]":                        `["a:1"]`,
		"redis:\n  addresses:\n  - a:1\n":                   `["a:1"]`,
		"gateway: {tls_certificates: [a.pem:/etc/a.key]}\n": `["a.pem:/etc/a.key"]`,
	} {
		c, err := Parse("x", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if printed := c.Print(); !strings.Contains(printed, ": "+want+" #") {
			t.Errorf("%s: no %s", text, want)
		}
	}
	for _, text := range []string{"redis: {addresses: [a: 1]}", "redis: {addresses: [{a: 1}]}", "redis: {addresses: [\"a\":1]}", "redis: {addresses: [{a: 1, b: 2}]}"} {
		if _, err := Parse("x", []byte(text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
