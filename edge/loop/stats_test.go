package loop

import (
	"reflect"
	"testing"
	"time"

	"weir/internal/hist"
)

// TestAllStatsAreMerged fails for a field that Merge forgets.
func TestAllStatsAreMerged(t *testing.T) {
	var h hist.Histogram
	h.Record(5)
	one := Stats{Latency: *h.Snapshot(), Lag: *h.Snapshot()}
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Struct:
			switch v.Type() {
			case reflect.TypeFor[hist.Snapshot]():
				return
			case reflect.TypeFor[time.Time]():
				v.Set(reflect.ValueOf(time.Unix(1, 0)))
				return
			}
			for _, field := range v.Fields() {
				fill(field)
			}
		case reflect.Array:
			for i := range v.Len() {
				fill(v.Index(i))
			}
		case reflect.Int, reflect.Int64:
			v.SetInt(1)
		case reflect.Uint64:
			v.SetUint(1)
		default:
			t.Fatalf("a field of kind %v", v.Kind())
		}
	}
	fill(reflect.ValueOf(&one).Elem())
	var two Stats
	two.Merge(&one)
	if two != one {
		t.Errorf("merged into nothing: %+v, want %+v", two, one)
	}
	past := one.Past()
	if past.Conns+past.MaxConns+int(past.Stalled)+past.Subscriptions+past.Topics+past.Patterns+past.Behind+int(past.HeldProcess+past.HeldKernel+past.TLSKernel+past.TLSProcess) != 0 || past.Deliveries != 1 || past.Latency.Count() != 1 || past.Lag.Count() != 1 {
		t.Errorf("what is left of it is %+v", past)
	}
}
