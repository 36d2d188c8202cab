package load

import "testing"

func TestPayloadComesBack(t *testing.T) {
	b := AppendPayload(nil, 0xabc, 123456789, 128)
	seq, due, err := ParsePayload(b)
	if err != nil || seq != 0xabc || due != 123456789 || len(b) != 128 {
		t.Fatalf("%d %d %v, %d bytes", seq, due, err, len(b))
	}
	for _, bad := range [][]byte{nil, b[:33], append([]byte("x"), b...)} {
		if _, _, err := ParsePayload(bad); err == nil {
			t.Errorf("%q is taken for a payload", bad)
		}
	}
}

func TestCheckCountsEachFault(t *testing.T) {
	for _, tt := range []struct {
		name string
		seqs []uint64
		want Faults
	}{
		{"in order", []uint64{5, 6, 7}, Faults{}},
		{"lost", []uint64{1, 2, 5, 6}, Faults{Lost: 2}},
		{"twice", []uint64{1, 2, 2, 3}, Faults{Duplicate: 1}},
		{"out of order", []uint64{1, 3, 2, 4}, Faults{Lost: 1, Disorder: 1}},
	} {
		var c Check
		var f Faults
		for _, s := range tt.seqs {
			c.See(s, &f)
		}
		if f != tt.want || f.Any() != (tt.want != Faults{}) {
			t.Errorf("%s: %+v, want %+v", tt.name, f, tt.want)
		}
	}
}
