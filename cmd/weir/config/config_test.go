package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/golden"
)

const mistakes = `edge:
  max_pendng: 1MiB
  max_message: 64 apples
  handshake_timeout: 10
  max_pending: 1KiB
  echo: yes please
  listen: [a, b]
  allowed_origins: "*"
  loops: many
  loops: 2
buss:
  data: x
bus:
  sync: sometimes
  history_events:
admin:
  listen: 0.0.0.0:8001
xdp:
  mode: enforced
  allow: [10.0.0.0/8, 300.1.1.1]
  slots: 1000
edge: 5
`

func TestAllMistakesAreReportedWithLineAndRemedy(t *testing.T) {
	_, err := Parse("weir.yaml", []byte(mistakes))
	if err == nil {
		t.Fatal("it is taken")
	}
	golden.Check(t, filepath.Join("testdata", "mistakes.txt"), err.Error()+"\n")
}

func TestNotYAML(t *testing.T) {
	if _, err := Parse("weir.yaml", []byte("edge: [")); err == nil || !strings.Contains(err.Error(), "weir.yaml") {
		t.Errorf("got %v", err)
	}
}

func TestEveryKeyIsPrintedAndReadBack(t *testing.T) {
	c := Default()
	c.Edge.MaxConns = 1000 // it follows from the host otherwise
	c.Edge.Loops = 2
	printed := c.Print()
	golden.Check(t, filepath.Join("testdata", "default.yaml"), printed)
	back, err := Parse("printed", []byte(printed))
	if err != nil {
		t.Fatal(err)
	}
	if again := back.Print(); again != printed {
		t.Errorf("read back as\n%s", again)
	}
}

func TestFileThenEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(path, []byte("edge:\n  listen: :1\n  max_message: 1KiB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, []string{"WEIR_EDGE_LISTEN=:2", "WEIR_EDGE_LISTEN=:3", "HOME=/", "WEIR_XDP_ALLOW=10.0.0.0/8,192.0.2.1", "WEIR_EDGE_LISTN=:4", "WEIR_SERVICE_HOST=x"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Edge.Listen != ":3" || c.Edge.MaxMessageBytes != 1024 || len(c.XDP.Allow) != 2 || c.XDP.Allow[1].String() != "192.0.2.1/32" {
		t.Errorf("%+v %+v", c.Edge, c.XDP)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "did you mean WEIR_EDGE_LISTEN?") {
		t.Errorf("warnings %q", c.Warnings)
	}
	if _, err := Load(path, []string{"WEIR_EDGE_LOOPS=x"}); err == nil || !strings.Contains(err.Error(), "WEIR_EDGE_LOOPS: is \"x\"") {
		t.Errorf("got %v", err)
	}
	if _, err := Load(path+".none", nil); err == nil {
		t.Error("a file that is not there is taken")
	}
}

func TestDirectoryMeansFileStorage(t *testing.T) {
	c, err := Load("", []string{"WEIR_BUS_DATA=/x"})
	if err != nil || c.Bus.Defaults().Storage != "file" {
		t.Errorf("%q, %v", c.Bus.Defaults().Storage, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(mistakes))
	f.Add([]byte(Default().Print()))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("f", text)
		if (c == nil) == (err == nil) {
			t.Fatal("neither a configuration nor an error")
		}
	})
}
