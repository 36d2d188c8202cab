package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/golden"
)

func TestHoldConfigSaysAllThatIsWrong(t *testing.T) {
	if err := (HoldConfig{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	if c := (HoldConfig{}).withDefaults(); c.Conns < 1 || c.Conns > maxHold || c.Workers*connsPerWorker < c.Conns || c.Churn != 0 {
		t.Errorf("%+v", c)
	}
	err := HoldConfig{Conns: 2_000_000, Workers: 300, Settle: time.Millisecond, Churn: -1, Percent: 60, Servers: []string{"all"}}.Validate()
	for _, want := range []string{
		"--conns is 2000000: want 1 to ", "by the limit of open files (ulimit -n)", "--workers is 300", "--settle is 1ms: want 1s to 1h", "--churn is -1ns", "--churn-percent is 60", "--servers is all",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
}

func TestHoldBarsAndTable(t *testing.T) {
	empty := Memory{RSS: 30e6, Anon: 20e6, PSS: 25e6, Heap: 10e6, Slab: 1e9, Sockets: 4096}
	with := func(each float64) Memory {
		return Memory{RSS: empty.RSS + 100*each, Anon: empty.Anon + 90*each, PSS: empty.PSS + 80*each, Heap: empty.Heap + 70*each, Slab: 1e9 + 100*8000, Sockets: 4096}
	}
	churned, over := with(1000), with(1001)
	for _, tt := range []struct {
		name              string
		turns             []HoldTurn
		held, after       bool
		heldNot, afterNot string
	}{
		{"at the bar", []HoldTurn{{Server: ServerFloor, Empty: empty, Held: with(8)}, {Server: ServerWeir, Empty: empty, Held: with(1000), Churned: &churned, Reopened: 500}}, true, true, "", ""},
		{"beyond", []HoldTurn{{Server: ServerWeir, Empty: empty, Held: over, Churned: &over}}, false, false, "", ""},
		{"no churn", []HoldTurn{{Server: ServerWeir, Empty: empty, Held: with(900)}}, true, false, "", "--churn 10m"},
		{"no weir", []HoldTurn{{Server: ServerFloor, Empty: empty, Held: with(8)}}, false, false, "not measured", "not measured"},
	} {
		r := HoldResult{Floor: "C, cc -O2", Conns: 100, Turns: tt.turns, Bars: holdBars(tt.turns, 100)}
		held, after := r.Bars[0], r.Bars[1]
		if held.Met != tt.held || after.Met != tt.after || !strings.Contains(held.Skipped, tt.heldNot) || !strings.Contains(after.Skipped, tt.afterNot) || (tt.afterNot == "") != (after.Skipped == "") {
			t.Errorf("%s: %+v", tt.name, r.Bars)
		}
		if tt.name != "at the bar" {
			continue
		}
		var out strings.Builder
		if err := r.Print(&out); err != nil {
			t.Fatal(err)
		}
		golden.Check(t, "testdata/holdtable.txt", out.String())
	}
}

func TestMemoryIsReadFromProc(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(path, []byte("Name:\tweir\nVmRSS:\t    2048 kB\nRssAnon:\t     x kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := kibField(path, "VmRSS"); n != 2<<20 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"RssAnon", "Pss"} {
		if n, err := kibField(path, bad); err == nil || !strings.Contains(err.Error(), "read "+bad) {
			t.Errorf("%s is %d, %v", bad, n, err)
		}
	}
	const stat = "sockets: used 9\nTCP: inuse 40 orphan 0 tw 2 alloc 43 mem 57\nUDP: inuse 1 mem 3\n"
	if n, err := tcpPages(stat); n != 57 || err != nil {
		t.Errorf("%d pages, %v", n, err)
	}
	if _, err := tcpPages("UDP: inuse 1 mem 3\n"); err == nil {
		t.Error("UDP's pages are taken for TCP's")
	}
}
