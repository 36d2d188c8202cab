package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/golden"
)

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	for _, command := range []string{"", "serve", "broker", "edge", "gateway", "publish", "subscribe", "why", "quota show", "quota top", "quota replay", "quota explain", "quota events", "quota set", "quota allow", "quota deny", "quota class", "quota unlist", "quota apply", "quota confirm", "quota unpin", "demo", "trace", "doctor", "tune plan", "tune apply", "tune verify", "tune rollback", "version", "bench fanout", "bench hold", "bench connect", "bench slow", "bench fairness", "bench flood", "bench gateway", "bench trace", "bench xdp"} {
		var out, errs bytes.Buffer
		code := run(append(strings.Fields(command), "--help"), &app{stdout: &out, stderr: &errs})
		if code != exitOK || errs.Len() > 0 {
			t.Errorf("%s: exit code %d, %s", command, code, &errs)
		}
		if command != "" && !strings.Contains(out.String(), "weir "+command) {
			t.Errorf("%s: no example in\n%s", command, &out)
		}
		name := strings.ReplaceAll("weir "+command, " ", "_")
		golden.Check(t, filepath.Join("testdata", strings.TrimSuffix(name, "_")+".txt"), out.String())
	}
}
