package bench

import (
	"strings"
	"testing"

	"weir/internal/golden"
)

func TestConnectConfigSaysAllThatIsWrong(t *testing.T) {
	if err := (ConnectConfig{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	err := ConnectConfig{Conns: 3, Workers: 4, Reps: 101, Servers: []string{"all"}}.Validate()
	for _, want := range []string{"--workers is 4: want 1 to 256, and no more than connections", "--reps is 101", "--servers is all"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
}

func TestSharesAreAllThereIs(t *testing.T) {
	for _, tt := range []struct{ all, n int }{{10, 1}, {10, 3}, {2, 3}, {0, 2}, {19488, 2}} {
		sum := 0
		for i := range tt.n {
			part := share(tt.all, tt.n, i)
			if sum += part; part < tt.all/tt.n || part > tt.all/tt.n+1 {
				t.Errorf("%d of %d is %d of %d", i, tt.n, part, tt.all)
			}
		}
		if sum != tt.all {
			t.Errorf("%d shares of %d are %d", tt.n, tt.all, sum)
		}
	}
}

func TestConnectBarsAndTable(t *testing.T) {
	round := func(perSecond float64) ConnectRound {
		return ConnectRound{PerSecond: perSecond, ServerMicros: 20, LoadMicros: 9, ServerCores: perSecond * 20e-6, LoadCores: perSecond * 9e-6}
	}
	turns := []ConnectTurn{
		{Server: ServerFloor, Cold: round(60000), Warm: round(30000)},
		{Server: ServerMinimal, Cold: round(40000), Warm: round(41000)},
		{Server: ServerWeir, Cold: round(30000), Warm: round(35000)},
		{Server: ServerWeir, Rep: 1, Cold: round(36000), Warm: round(35999)},
		{Server: ServerWeir, Rep: 2, Cold: round(39000), Warm: round(37000)},
	}
	r := ConnectResult{Floor: "C, cc -O2", Turns: turns, Rows: connectRows(turns)}
	r.Bars = connectBars(r.Rows)
	var out strings.Builder
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/connecttable.txt", out.String())
	if b := r.Bars; len(b) != 2 || !b[0].Met || b[0].Figure != 36000 || b[1].Met || strings.Contains(b[0].Note, "limit") || !strings.Contains(b[1].Note, "the load generator is the limit: the floor has 30000") {
		t.Errorf("%+v", b)
	}
	for _, b := range connectBars(connectRows(turns[:2])) {
		if b.Skipped != "weir was not measured" {
			t.Errorf("%+v", b)
		}
	}
}
