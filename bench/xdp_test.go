package bench

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"weir/bpf/bpftest"
	"weir/bpf/xdp"
)

func TestMedianIsTheMiddle(t *testing.T) {
	for _, tt := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 100}, 3}} {
		if got := median(tt.of); got != tt.want {
			t.Errorf("median of %v is %v, want %v", tt.of, got, tt.want)
		}
	}
	s := []float64{2, 1}
	if median(s); s[0] != 2 {
		t.Error("it sorts what it is given")
	}
}

func TestRowsAreAboveTheirBaselineOfTheSameRepetition(t *testing.T) {
	rows := []XDPRow{
		{Name: "base", Gross: []float64{10, 20, 30}},
		{Name: "row", Above: "base", Gross: []float64{15, 22, 41}, GrossOther: []float64{15, 22, 41}, GrossBoth: [][]float64{{15, 15}, {44, 44}, {41, 41}}},
		{Name: "uneven CPUs", Above: "base", Gross: []float64{20, 20, 20}, GrossOther: []float64{60, 60, 60}, GrossBoth: [][]float64{{20, 60}, {20, 60}, {20, 60}}},
		{Name: "none", Above: "base", Skipped: "no"},
	}
	sumUp(rows)
	if r := rows[0]; r.Net != 20 || r.Least != 10 || r.Most != 30 || r.Speedup != 0 {
		t.Errorf("%+v", r)
	}
	if r := rows[1]; r.Net != 5 || r.Least != 2 || r.Most != 11 || r.Speedup != 2 || r.Gross[0] != 15 {
		t.Errorf("%+v", r)
	}
	if r := rows[2]; math.Abs(r.Speedup-2) > 1e-9 {
		t.Errorf("%+v", r)
	}
	if r := rows[3]; r.Net != 0 || r.Speedup != 0 {
		t.Errorf("%+v", r)
	}
}

// ideal is a row for each case: all of 10 ns, and on two CPUs twice as fast.
func ideal() (rows []XDPRow) {
	for _, c := range xdpCases() {
		row := XDPRow{Name: c.name, Above: c.above, Net: 10, Least: 9, Most: 11, Gross: []float64{20}}
		if c.both {
			row.Speedup, row.GrossBoth = 2, [][]float64{{20, 20}}
		}
		rows = append(rows, row)
	}
	return rows
}

// set changes the row of a name.
func set(t *testing.T, rows []XDPRow, name string, change func(*XDPRow)) {
	t.Helper()
	for i := range rows {
		if rows[i].Name == name {
			change(&rows[i])
			return
		}
	}
	t.Fatalf("no row %q", name)
}

func TestBarsAreMetAtTheBarAndNotBeyond(t *testing.T) {
	for _, tt := range []struct {
		row    string
		change func(*XDPRow)
		line   string
	}{
		{rowHot, func(r *XDPRow) { r.Net = 45 }, "met      weir: hot client, packets and bytes: 45.0 ns, at most 45"},
		{rowHot, func(r *XDPRow) { r.Net = 45.1 }, "not met  weir: hot client, packets and bytes: 45.1 ns, at most 45"},
		{rowHotCoarse, func(r *XDPRow) { r.Net = 26 }, "not met  weir: hot client, packets and bytes, coarse clock: 26.0 ns, at most 25"},
		{rowMillion, func(r *XDPRow) { r.Net = 5 }, "met      weir: 1 M clients, 1 M slots / LRU + GCRA: 1 M clients, 1 M entries: 0.50x, at most 0.5"},
		{rowMillionLRU, func(r *XDPRow) { r.Net = 15 }, "not met  weir: 1 M clients, 1 M slots / LRU + GCRA: 1 M clients, 1 M entries: 0.67x, at most 0.5"},
		{rowSpoof, func(r *XDPRow) { r.Net = 4 }, "met      weir: spoofed / LRU + GCRA: spoofed, 1 M entries: 0.40x, at most 0.4"},
		{rowSpoof, func(r *XDPRow) { r.Speedup = 1.9 }, "met      weir: spoofed, two CPUs / one: 1.90x, at least 1.9"},
		{rowSpoof, func(r *XDPRow) { r.Speedup = 1.8 }, "not met  weir: spoofed, two CPUs / one: 1.80x, at least 1.9"},
		{rowSpoof, func(r *XDPRow) { r.GrossBoth = nil }, "skipped  weir: spoofed, two CPUs / one: there is but one CPU"},
		{rowSpoof, func(r *XDPRow) { r.Skipped = "no proof" }, "skipped  weir: spoofed / LRU + GCRA: spoofed, 100 k entries: no proof"},
	} {
		rows := ideal()
		set(t, rows, tt.row, tt.change)
		var out bytes.Buffer
		(&XDPResult{Rows: rows, Bars: xdpBars(rows)}).Print(&out)
		if !strings.Contains(out.String(), "\n"+tt.line+"\n") {
			t.Errorf("no line %q in\n%s", tt.line, &out)
		}
	}
}

func TestTableSaysWhatWasSkippedAndWhy(t *testing.T) {
	rows := ideal()
	set(t, rows, rowCookie, func(r *XDPRow) { r.Skipped = "no cookies" })
	var out bytes.Buffer
	(&XDPResult{Reps: 5, Rows: rows, SameCore: true}).Print(&out)
	for _, want := range []string{
		"median of 5;", "    10.0      9.0     11.0    2.00x  " + rowHot + "\n", "    10.0      9.0     11.0           " + rowOff + "\n",
		"\n\n    10.0      9.0     11.0    2.00x  " + rowDropAll + "\n", "\nskipped: " + rowCookie + ": no cookies\n", "threads of one core",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if strings.Count(out.String(), rowCookie) != 1 {
		t.Errorf("the row is there\n%s", &out)
	}
}

func TestPacketsThatWentAnotherWayAreAnError(t *testing.T) {
	var before, after xdp.Stats
	before.Passed[xdp.ReasonPassQuota].Packets = 1000
	after.Passed[xdp.ReasonPassQuota].Packets = 1090
	after.Dropped[xdp.ReasonContention].Packets = 10
	if err := expected(before, after, because(xdp.ReasonPassQuota)); err != nil {
		t.Error(err)
	}
	after.Dropped[xdp.ReasonContention].Packets = 11
	if err := expected(before, after, because(xdp.ReasonPassQuota)); err == nil || !strings.HasSuffix(err.Error(), "had pass_quota 90, contention 11") {
		t.Error(err)
	}
	if expected(before, before, because(xdp.ReasonPassQuota)) == nil {
		t.Error("no packet at all is fine")
	}
	if err := expected(before, before, nil); err != nil {
		t.Error(err)
	}
}

func TestCPUsAreOfTwoCoresWhereThereAreTwo(t *testing.T) {
	core := func(cpu int) string { return string(rune('a' + cpu/2)) }
	for _, tt := range []struct {
		all, want []int
		same      bool
	}{{nil, nil, false}, {[]int{3}, []int{3}, false}, {[]int{0, 1}, []int{0, 1}, true}, {[]int{0, 1, 2, 3}, []int{0, 2}, false}, {[]int{1, 4}, []int{1, 4}, false}} {
		if got, same := pickCPUs(tt.all, core); !reflect.DeepEqual(got, tt.want) || same != tt.same {
			t.Errorf("%v: %v, %v", tt.all, got, same)
		}
	}
}

func TestXDPConfigSaysAllThatIsWrong(t *testing.T) {
	err := XDPConfig{Reps: -1, Packets: 1}.Validate()
	if err == nil || !strings.Contains(err.Error(), "--reps is -1: want 1 to 100") || !strings.Contains(err.Error(), "1000 to 100000000") {
		t.Error(err)
	}
	if err := (XDPConfig{}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestXDPWithoutRightsSaysWhatToDo(t *testing.T) {
	_, err := RunXDP(t.Context(), XDPConfig{Reps: 101}, nil)
	if err == nil || !strings.Contains(err.Error(), "--reps") {
		t.Error(err)
	}
	if os.Geteuid() == 0 {
		t.Skip("root has the rights, and would measure for minutes: run it as another user; TestBPFXDPMeasuresEachCase measures as root")
	}
	want := xdp.ErrNotPermitted
	if runtime.GOOS != "linux" {
		want = errors.ErrUnsupported
	}
	if _, err := RunXDP(t.Context(), XDPConfig{}, nil); !errors.Is(err, want) {
		t.Error(err)
	}
}

func TestBPFXDPMeasuresEachCase(t *testing.T) {
	bpftest.Require(t, "6.0", "SYN cookies in XDP")
	var progress bytes.Buffer
	r, err := RunXDP(t.Context(), XDPConfig{Reps: 1, Packets: 4000}, &progress)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if !strings.Contains(progress.String(), "repetition 1 of 1") || len(r.Bars) == 0 {
		t.Errorf("%d bars, %q", len(r.Bars), &progress)
	}
	for i, c := range xdpCases() {
		row := r.Rows[i]
		if row.Name != c.name || row.Skipped != "" || len(row.Gross) != 1 || row.Gross[0] <= 0 || math.IsNaN(row.Net) {
			t.Errorf("%+v", row)
		}
		if both := c.both && len(r.CPUs) == 2; both != (len(row.GrossBoth) == 1) || both != (len(row.GrossOther) == 1) || both != (row.Speedup > 0) {
			t.Errorf("%+v: want two CPUs: %v", row, both)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := RunXDP(ctx, XDPConfig{}, &progress); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
}
