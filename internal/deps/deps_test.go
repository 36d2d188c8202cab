package deps

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

func TestImportsPointOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "weir/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	graph := map[string][]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		graph[p.ImportPath] = p.Imports
	}
	if len(graph) < 15 {
		t.Fatalf("only %d packages", len(graph))
	}
	for _, p := range Check(graph, Rules(), HeavyLibraries()) {
		t.Error(p)
	}
}

func TestEachBanIsFound(t *testing.T) {
	for _, tt := range []struct{ pkg, imports, want string }{
		{"weir/edge/loop", "weir/bpf/xdp", "without any kernel program"},
		{"weir/broker", "weir/broker/bus", "vocabulary"},
		{"weir/bpf/xdp", "weir/ratelimit", "a leaf"},
		{"weir/edge/hub", "github.com/panjf2000/gnet/v2", "only weir/edge/loop, weir/gateway/loop, weir/bench/minimal may"},
		{"weir/new", "fmt", "has no rule"},
	} {
		got := strings.Join(Check(map[string][]string{tt.pkg: {tt.imports}}, Rules(), HeavyLibraries()), "\n")
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s imports %s: %q, want %q", tt.pkg, tt.imports, got, tt.want)
		}
	}
	if got := Check(map[string][]string{"weir/edge/loop": {"weir/edge/hub", "github.com/panjf2000/gnet/v2"}}, Rules(), HeavyLibraries()); len(got) > 0 {
		t.Errorf("what is allowed is refused: %q", got)
	}
}
