package region

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"weir/broker"
)

func TestHeadsAreReadOnceForThePatternsThatOpenMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := headsReader{turn: make(chan struct{}, 1)}
		release := make(chan struct{})
		calls := uint64(0) // one at a time
		get := func(context.Context) (*broker.Heads, error) {
			calls++
			at := calls
			<-release
			return &broker.Heads{{Offset: at}}, nil
		}
		var wg sync.WaitGroup
		open := func(want uint64) {
			wg.Go(func() {
				if heads, err := r.read(t.Context(), get); err != nil || heads[0].Offset != want {
					t.Errorf("got %v, %v, want those of call %d", heads, err, want)
				}
			})
			synctest.Wait()
		}
		open(1)
		for range 10 { // the first call may have read before these came
			open(2)
		}
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, err := r.read(ctx, get); !errors.Is(err, broker.ErrUnavailable) {
				t.Errorf("canceled: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		release <- struct{}{}
		release <- struct{}{}
		wg.Wait()
		if calls != 2 {
			t.Errorf("%d calls for 11 patterns, want 2", calls)
		}
	})
}

func TestHeadsOfACancelledCallAreReadByTheNext(t *testing.T) {
	r := headsReader{turn: make(chan struct{}, 1)}
	get := func(context.Context) (*broker.Heads, error) { return &broker.Heads{}, nil }
	r.turn <- struct{}{} // another reads
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.read(ctx, get); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("canceled: %v", err)
	}
	<-r.turn
	if _, err := r.read(t.Context(), get); err != nil {
		t.Error(err)
	}
}
