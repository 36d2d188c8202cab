package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/gateway/replay"
	"weir/internal/golden"
)

const replayRoutes = `
upstreams: {app: {servers: ["127.0.0.1:1"]}}
policies:  {burst: {quota: 3/10s}, strict: {quota: 1/10s, shadow: true}}
routes:    {api: {path: /api, upstream: app, policies: [burst]}}
`

// replayLog is of the common format, in the directory of a test, beside a file of routes.
func replayLog(t *testing.T) (log, routes string) {
	t.Helper()
	dir := t.TempDir()
	log, routes = filepath.Join(dir, "access.log"), filepath.Join(dir, "routes.yaml")
	var b strings.Builder
	for i, second := range []string{"00", "01", "02", "03", "20", "21"} {
		b.WriteString(`192.0.2.1 - - [02/Jan/2026:03:04:` + second + ` +0000] "GET /api HTTP/1.1" ` + []string{"200", "429"}[i%2] + " 1\n")
	}
	b.WriteString("x\n192.0.2.2 - - [02/Jan/2026:03:05:00 +0000] \"GET /api HTTP/1.1\" 200 1\n")
	for name, text := range map[string]string{log: b.String(), routes: replayRoutes} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return log, routes
}

func TestReplayPrintsWhomAPolicyWouldHaveLimited(t *testing.T) {
	log, routes := replayLog(t)
	for name, args := range map[string][]string{
		"log":    {"quota", "replay", "quota=2/10s,burst=1,key=address/24/56", "--log", log},
		"beside": {"quota", "replay", "strict", "--routes", routes, "--beside", "burst", "--log", log},
	} {
		var out, errs bytes.Buffer
		if code := run(args, &app{stdout: &out, stderr: &errs}); code != exitOK {
			t.Errorf("%s: exit code %d: %s", name, code, &errs)
		}
		golden.Check(t, filepath.Join("testdata", "replay_"+name+".txt"), strings.ReplaceAll(out.String(), filepath.Dir(log)+"/", ""))
	}
}

func TestReplayOfTheStandardInputAsJSON(t *testing.T) {
	const lines = `{"ts":1,"ip":"192.0.2.1","tenant":"a"}
{"ts":2,"ip":"192.0.2.2","tenant":"a"}
{"ts":3,"ip":"192.0.2.2","tenant":"b"}
`
	var out, errs bytes.Buffer
	args := []string{"quota", "replay", "quota=1/h,key=header:x-tenant+route", "--key", "header:x-tenant=tenant", "--fields", "client=ip", "--log", "-", "--json"}
	code := run(args, &app{stdin: strings.NewReader(strings.ReplaceAll(lines, "}", `,"path":"/"}`)), stdout: &out, stderr: &errs})
	var got replay.Report
	if err := json.Unmarshal(out.Bytes(), &got); code != exitOK || err != nil || got.Limited != 1 || len(got.Top) != 1 || got.Top[0].Client != "a all" || got.Beside != "" {
		t.Errorf("exit code %d, %v: %s%s", code, err, &out, &errs)
	}
}

func TestReplayExitsWith2IfItIsUsedWronglyAndWith1IfTheLogIsWrong(t *testing.T) {
	log, routes := replayLog(t)
	bad := filepath.Join(t.TempDir(), "bad.log")
	if err := os.WriteFile(bad, []byte("x\ny\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		code int
		says string
		args string
	}{
		{exitUsage, "--log", "quota=1/s"},
		{exitUsage, "--routes", "strict --log " + log},
		{exitUsage, "want one of burst, strict", "strikt --routes " + routes + " --log " + log},
		{exitUsage, "want a count per s", "quota=fast --log " + log},
		{exitUsage, "did you mean quota", "qota=1/s --log " + log},
		{exitUsage, "has no burst of its own", "quota=100/min,burst=20,algorithm=counter --log " + log},
		{exitUsage, "want KEY=VALUE", "quota=1/s,burst --log " + log},
		{exitUsage, "--beside", "quota=1/s --beside none --log " + log},
		{exitUsage, "want time, begun", "quota=1/s --fields ip=x --log " + log},
		{exitUsage, "want NAME=FIELD", "quota=1/s --fields ip --log " + log},
		{exitUsage, "header:NAME", "quota=1/s --key x=y --log " + log},
		{exitUsage, "want 0s to 10m", "quota=1/s --window 1h --log " + log},
		{exitFailed, "no such file", "quota=1/s --log " + log + ".gone"},
		{exitFailed, "bad.log, line 1", "quota=1/s --log " + bad},
		{exitFailed, "--key header:X-Tenant=FIELD", "quota=1/s,key=header:X-Tenant --log " + log},
	} {
		var out, errs bytes.Buffer
		code := run(append([]string{"quota", "replay"}, strings.Fields(tt.args)...), &app{stdout: &out, stderr: &errs})
		if code != tt.code || !strings.Contains(errs.String(), tt.says) || out.Len() > 0 {
			t.Errorf("%s: exit code %d, want %d: %s%s", tt.args, code, tt.code, &errs, &out)
		}
	}
}
