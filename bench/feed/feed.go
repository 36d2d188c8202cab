// Package feed makes up events, for a first look at weir and for tests.
package feed

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"
)

// TicksConfig configures [Ticks]. The zero value is valid.
type TicksConfig struct {
	// Symbols are what is priced; each has the topic "ticks." + its name. Default five.
	Symbols []Symbol
	// Interval is the time between two ticks of a symbol. Default 100 ms.
	Interval time.Duration
	// Seed makes the prices the same in every run. Default 1.
	Seed uint64
}

// Symbol is a price's name, where it begins, and its decimals.
type Symbol struct {
	Name     string
	Price    float64
	Decimals int
}

// Ticks is a random walk of prices.
type Ticks struct {
	cfg    TicksConfig
	rng    *rand.Rand
	prices []float64
}

// NewTicks returns a walk. Nothing runs before [Ticks.Run].
func NewTicks(cfg TicksConfig) *Ticks {
	if cfg.Symbols == nil {
		cfg.Symbols = []Symbol{{"EURUSD", 1.085, 5}, {"GBPUSD", 1.271, 5}, {"USDJPY", 151.3, 3}, {"BTCUSD", 68000, 1}, {"XAUUSD", 2650, 2}}
	}
	if cfg.Interval == 0 {
		cfg.Interval = 100 * time.Millisecond
	}
	if cfg.Seed == 0 {
		cfg.Seed = 1
	}
	t := &Ticks{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0))} //nolint:gosec // prices need no secrecy
	for _, s := range cfg.Symbols {
		t.prices = append(t.prices, s.Price)
	}
	return t
}

// Next moves symbol i and returns its topic and tick: {"symbol","bid","ask","ts"}, ts in Unix
// milliseconds.
func (t *Ticks) Next(i int, now time.Time) (topic string, data []byte) {
	s := t.cfg.Symbols[i]
	t.prices[i] *= 1 + t.rng.NormFloat64()*1e-5
	bid := t.prices[i]
	b := append([]byte(`{"symbol":"`), s.Name...)
	b = append(b, `","bid":`...)
	b = strconv.AppendFloat(b, bid, 'f', s.Decimals, 64)
	b = append(b, `,"ask":`...)
	b = strconv.AppendFloat(b, bid*(1+2e-5), 'f', s.Decimals, 64)
	b = append(b, `,"ts":`...)
	b = strconv.AppendInt(b, now.UnixMilli(), 10)
	return "ticks." + s.Name, append(b, '}')
}

// Run publishes a tick of every symbol each interval until ctx ends or publish fails.
func (t *Ticks) Run(ctx context.Context, publish func(ctx context.Context, topic string, data []byte) error) error {
	pace := time.NewTicker(t.cfg.Interval)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-pace.C:
			for i := range t.cfg.Symbols {
				topic, data := t.Next(i, now)
				if err := publish(ctx, topic, data); err != nil {
					return err
				}
			}
		}
	}
}
