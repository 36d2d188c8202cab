package gateway

import (
	"context"
	"time"
)

// strainEvery is how often it is looked.
const strainEvery = 20 * time.Millisecond

// strain turns waits for a CPU into how much is shed: a controller that adds while they are too long, and takes off while they
// are not.
type strain struct {
	most  time.Duration
	share float64
}

// Steps of the controller, in shares of what is shed.
const (
	strainStep  = 1.0 / 32
	strainDecay = 1.0 / 128
)

// observe is told how long a goroutine waited beyond its time, and says how much to shed, of 1024.
func (s *strain) observe(late time.Duration) uint32 {
	if late > s.most {
		s.share = min(1, s.share+strainStep)
	} else {
		s.share = max(0, s.share-strainDecay)
	}
	return uint32(s.share * 1024)
}

// watchStrain sheds what is less urgent while this goroutine, as any other, waits too long for a CPU.
func (s *Server) watchStrain(ctx context.Context) {
	t := time.NewTimer(strainEvery)
	defer t.Stop()
	state := &strain{most: s.cfg.Strain}
	due := time.Now().Add(strainEvery)
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.flight.SetStrain(state.observe(time.Since(due)))
			due = time.Now().Add(strainEvery)
			t.Reset(strainEvery)
		}
	}
}
