package token

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"weir/broker"

	"github.com/golang-jwt/jwt/v5"
)

// MaxTokenBytes bounds a token.
const MaxTokenBytes = 8 << 10

// Config configures a [Verifier].
type Config struct {
	// Keys check tokens. At least one.
	Keys []Key
	// Issuer and Audience are what iss has to be, and aud to name; empty for any.
	Issuer, Audience string
	// Leeway is by how much clocks may differ. 0 to 5 min, default 5 s.
	Leeway time.Duration
	// Values are the names of further claims that are kept, see [Claims.Value]: of texts, numbers and booleans.
	Values []string
}

// Claims are what a token says that was checked.
type Claims struct {
	// Subject is who the client is: sub, never empty.
	Subject string
	// Expires is when it ends.
	Expires time.Time
	// Subscribe and Publish are the topics, or patterns, that it may subscribe and publish to: topics.subscribe
	// and topics.publish. Nil for none that the token names: what then holds is the configuration's.
	Subscribe, Publish []broker.Pattern
	// Class is the client's class of quotas; empty for the default.
	Class string

	values map[string]string
}

// MaySubscribe reports whether the token names a pattern that covers all that p stands for.
func (c *Claims) MaySubscribe(p broker.Pattern) bool { return covered(c.Subscribe, p) }

// MayPublish is the same for publishing to a topic.
func (c *Claims) MayPublish(t broker.Topic) bool { return covered(c.Publish, broker.Pattern(t)) }

func covered(by []broker.Pattern, p broker.Pattern) bool {
	for _, b := range by {
		if b.Covers(p) {
			return true
		}
	}
	return false
}

// Verifier checks tokens. It does not change, and may be used from any goroutine.
type Verifier struct {
	cfg    Config
	byID   map[string][]Key
	parser *jwt.Parser
	now    func() time.Time
}

// New returns a Verifier. The error says what of cfg is wrong.
func New(cfg Config) (*Verifier, error) {
	if cfg.Leeway == 0 {
		cfg.Leeway = 5 * time.Second
	}
	if cfg.Leeway < 0 || cfg.Leeway > 5*time.Minute {
		return nil, fmt.Errorf("tokens.leeway is %v: want 0 to 5m", cfg.Leeway)
	}
	if len(cfg.Keys) == 0 {
		return nil, fmt.Errorf("tokens.keys is empty: %w: give at least one", ErrBadKey)
	}
	v := &Verifier{cfg: cfg, byID: map[string][]Key{}, now: time.Now}
	var methods []string
	for _, k := range cfg.Keys {
		if k.key == nil {
			return nil, fmt.Errorf("tokens.keys: %w %q: make it by ParseKey", ErrBadKey, k.id)
		}
		v.byID[k.id] = append(v.byID[k.id], k)
		if !slices.Contains(methods, k.algorithm) {
			methods = append(methods, k.algorithm)
		}
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(methods), jwt.WithLeeway(cfg.Leeway), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithStrictDecoding(), jwt.WithTimeFunc(func() time.Time { return v.now() }),
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	v.parser = jwt.NewParser(options...)
	return v, nil
}

// body is a token's claims on the wire.
type body struct {
	jwt.RegisteredClaims
	Topics struct {
		Subscribe []string `json:"subscribe"`
		Publish   []string `json:"publish"`
	} `json:"topics"`
	Class string `json:"class"`
}

// Verify checks a token in its compact form. The error wraps one of this package's.
func (v *Verifier) Verify(text string) (*Claims, error) {
	if len(text) > MaxTokenBytes {
		return nil, fmt.Errorf("%w: it has %d bytes, more than %d", ErrMalformed, len(text), MaxTokenBytes)
	}
	var b body
	if _, err := v.parser.ParseWithClaims(text, &b, v.keys); err != nil {
		return nil, fmt.Errorf("%w: %w", outcome(err), err)
	}
	c := &Claims{Subject: b.Subject, Expires: b.ExpiresAt.Time, Class: b.Class}
	if c.Subject == "" {
		return nil, fmt.Errorf("%w: sub is empty", ErrIncomplete)
	}
	var err error
	if c.Subscribe, err = patterns(b.Topics.Subscribe); err == nil {
		c.Publish, err = patterns(b.Topics.Publish)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: topics: %w", ErrMalformed, err)
	}
	if c.values, err = v.values(text); err != nil {
		return nil, err
	}
	return c, nil
}

func patterns(texts []string) (all []broker.Pattern, err error) {
	for _, text := range texts {
		p, err := broker.ParsePattern(text)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// keys are those that may have signed a token: of its kid, and those without one; each of the token's algorithm.
func (v *Verifier) keys(t *jwt.Token) (any, error) {
	if crit, there := t.Header["crit"]; there {
		text, _ := json.Marshal(crit) //nolint:errchkjson // it was JSON
		return nil, fmt.Errorf("it demands what is not known here: crit %s", text)
	}
	id, _ := t.Header["kid"].(string)
	candidates := v.byID[""]
	if id != "" {
		candidates = append(slices.Clip(candidates), v.byID[id]...)
	}
	var set jwt.VerificationKeySet
	for _, k := range candidates {
		if k.algorithm == t.Method.Alg() {
			set.Keys = append(set.Keys, k.key)
		}
	}
	if len(set.Keys) == 0 {
		return nil, fmt.Errorf("no key of kid %q is for %s", id, t.Method.Alg())
	}
	return set, nil
}
