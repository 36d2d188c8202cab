package ethtool

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestTablesAreShort(t *testing.T) {
	for _, tt := range []struct {
		table []uint32
		text  string
		even  bool // over four queues
	}{
		{EvenTable(128, 4), "128: 0-3", true},
		{EvenTable(130, 4), "130: 0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-3,0-1", true},
		{[]uint32{0, 0, 0, 0}, "4: 0", false},
		{[]uint32{0, 1, 2, 2}, "4: 0-2,2", false},
		{[]uint32{3, 2, 1, 0}, "4: 3,2,1,0", true},
		{[]uint32{0, 1, 2, 9}, "4: 0-2,9", false},
		{[]uint32{7}, "1: 7", false},
	} {
		if got := FormatTable(tt.table); got != tt.text {
			t.Errorf("%v is %q, want %q", tt.table, got, tt.text)
		}
		if got := Even(tt.table, 4); got != tt.even {
			t.Errorf("%v is even: %v", tt.table, got)
		}
	}
	for _, text := range []string{"", "4", "4:", "4: ", "4: 3-1", "4: 0-4", "4: 0-2", "0: 0", "x: 0", "4: 0-65536", "99999999: 0", "4: -1"} {
		if table, err := ParseTable(text); err == nil {
			t.Errorf("%q is %v", text, table)
		}
	}
	if Even(nil, 0) {
		t.Error("no queues")
	}
}

func TestAnyTableComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := slices.Repeat(rapid.SliceOfN(rapid.Uint32Range(0, 70), 1, 64).Draw(t, "pattern"), rapid.IntRange(1, 8).Draw(t, "times"))
		if back, err := ParseTable(FormatTable(table)); err != nil || !slices.Equal(back, table) {
			t.Fatalf("%v came back as %v, %v", table, back, err)
		}
	})
}
