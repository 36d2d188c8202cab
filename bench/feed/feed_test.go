package feed

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"
)

func TestTicksAreTheSameForASeed(t *testing.T) {
	a, b := NewTicks(TicksConfig{Seed: 7}), NewTicks(TicksConfig{Seed: 7})
	for range 10 {
		_, x := a.Next(0, time.UnixMilli(5))
		_, y := b.Next(0, time.UnixMilli(5))
		if string(x) != string(y) {
			t.Fatalf("%s is not %s", x, y)
		}
	}
}

func TestTickIsJSONWithAskAboveBid(t *testing.T) {
	topic, data := NewTicks(TicksConfig{}).Next(0, time.UnixMilli(5))
	var tick struct {
		Symbol   string
		Bid, Ask float64
		TS       int64
	}
	if err := json.Unmarshal(data, &tick); err != nil || topic != "ticks.EURUSD" || tick.Symbol != "EURUSD" || tick.Ask <= tick.Bid || tick.TS != 5 {
		t.Fatalf("%s %s: %v", topic, data, err)
	}
}

func TestRunKeepsThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second+time.Millisecond)
		defer cancel()
		n := 0
		err := NewTicks(TicksConfig{Interval: 100 * time.Millisecond}).Run(ctx, func(context.Context, string, []byte) error {
			n++
			return nil
		})
		if err != nil || n != 50 {
			t.Errorf("%d ticks of five symbols in a second, %v", n, err)
		}
	})
}
