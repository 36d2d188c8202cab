package config

import (
	"time"

	"weir/ratelimit"
	"weir/ratelimit/escalate"
)

// Escalate is how the gateway has clients cut in XDP.
type Escalate struct {
	// Mode is on or off.
	Mode string
	escalate.Config
	// Packets are what still passes of a client that is cut.
	Packets ratelimit.Rate
}

func defaultEscalate() Escalate {
	return Escalate{
		Mode: "on", Packets: ratelimit.Rate{Count: 10, Per: time.Second},
		Config: escalate.Config{Threshold: 100, Window: 10 * time.Second, Share: 50, Hold: 30 * time.Second, MaxHold: time.Hour, Factor: 2, CalmBelow: 50, CalmFor: 10 * time.Minute},
	}
}

func escalateSettings() []setting {
	at := func(c *Config) *Escalate { return &c.Gateway.Escalate }
	return []setting{
		oneOf("gateway.escalate", "clients that keep being refused are cut in XDP for a time, where that is: on or off", []string{"on", "off"}, func(c *Config) *string { return &at(c).Mode }),
		number("gateway.escalate_threshold", "escalation.threshold", "refusals within the window that have a client cut", func(c *Config) *int { return &at(c).Threshold }),
		duration("gateway.escalate_window", "escalation.window", "that window", func(c *Config) *time.Duration { return &at(c).Window }),
		number("gateway.escalate_share", "escalation.share", "percent of its requests that have to be refused; 0: any", func(c *Config) *int { return &at(c).Share }),
		duration("gateway.escalate_hold", "escalation.hold", "how long it is cut at first", func(c *Config) *time.Duration { return &at(c).Hold }),
		number("gateway.escalate_factor", "escalation.factor", "times as long each time that it comes back and does it again", func(c *Config) *int { return &at(c).Factor }),
		duration("gateway.escalate_max_hold", "escalation.max_hold", "at most", func(c *Config) *time.Duration { return &at(c).MaxHold }),
		number("gateway.escalate_calm_below", "escalation.calm_below", "refusals within the window below which it is calm", func(c *Config) *int { return &at(c).CalmBelow }),
		duration("gateway.escalate_calm_for", "escalation.calm_for", "how long it is to be calm for the next hold to be a first one", func(c *Config) *time.Duration { return &at(c).CalmFor }),
		acceptRate("gateway.escalate_packets", "", "packets of it that still pass, so that it can be told why", func(c *Config) *ratelimit.Rate { return &at(c).Packets }),
	}
}
