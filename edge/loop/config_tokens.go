package loop

import (
	"fmt"
	"slices"

	"weir/broker"
)

// Values of [Config.Anonymous].
const (
	AnonymousAuto = "auto"
	AnonymousOn   = "on"
	AnonymousOff  = "off"
)

// maxAnonymousTopics bounds Config.AnonymousTopics: they are gone through for each topic that is asked for.
const maxAnonymousTopics = 1024

// defaultTokens sets what is not said of clients without a token.
func (c *Config) defaultTokens() {
	if c.Anonymous == "" {
		c.Anonymous = AnonymousAuto
	}
	if c.AnonymousTopics == nil {
		c.AnonymousTopics = []broker.Pattern{">"}
	}
}

// checkTokens reports what is wrong about who is let in. Whether there are tokens at all is looked at by [New].
func (c *Config) checkTokens() (errs []error) {
	if !slices.Contains([]string{AnonymousAuto, AnonymousOn, AnonymousOff}, c.Anonymous) {
		errs = append(errs, &FieldError{"Anonymous", c.Anonymous, "auto, on or off"})
	}
	if n := len(c.AnonymousTopics); n > maxAnonymousTopics {
		errs = append(errs, &FieldError{"AnonymousTopics", n, fmt.Sprintf("%d patterns at most: give wider ones", maxAnonymousTopics)})
	}
	for _, p := range c.AnonymousTopics {
		if _, err := broker.ParsePattern(string(p)); err != nil {
			errs = append(errs, &FieldError{"AnonymousTopics", p, "topics, or patterns such as news.*"})
		}
	}
	if n := c.MaxConnsPerIdentity; n < 0 || n > 100_000_000 {
		errs = append(errs, &FieldError{"MaxConnsPerIdentity", n, "0 (no limit) to 100000000"})
	}
	return errs
}
