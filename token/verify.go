package token

import (
	"encoding/json"
	"fmt"
	"time"

	"weir/broker"

	"github.com/golang-jwt/jwt/v5"
)

// MaxTokenBytes bounds a token, MaxSubjectBytes and MaxClassBytes what is kept of it for as long as its client is
// connected.
const (
	MaxTokenBytes   = 8 << 10
	MaxSubjectBytes = 256
	MaxClassBytes   = 64
)

// Bounds of [Config.Leeway].
const (
	DefaultLeeway = 5 * time.Second
	MaxLeeway     = 5 * time.Minute
)

// Config configures a [Verifier].
type Config struct {
	// Keys check tokens. At least one, or a Source.
	Keys []Key
	// Source gives others, which may change; nil: none.
	Source Source
	// Issuer and Audience are what iss has to be, and aud to name; empty for any.
	Issuer, Audience string
	// Leeway is by how much clocks may differ. 0 to 5 min, default 5 s.
	Leeway time.Duration
	// Values are the names of further claims that are kept, see [Claims.Value]: of texts, numbers and booleans.
	Values []string
}

// Source is where keys are got from that change, such as a JWK set at a URL. Its methods are called by each
// [Verifier.Verify], on event loops and with tokens that anybody made: they take no lock and wait for nothing.
type Source interface {
	// KeySet is the one that holds now; nil if there is none.
	KeySet() *KeySet
	// Missed is told that a token names a key that neither the set nor Config.Keys has: there may be a newer set.
	Missed()
}

// Claims are what a token says that was checked.
type Claims struct {
	// Subject is who the client is: sub, 1 to MaxSubjectBytes.
	Subject string
	// Expires is when it ends, Until by how much later it is taken at most: the leeway.
	Expires, Until time.Time
	// Subscribe and Publish are the topics, or patterns, that it may subscribe and publish to: topics.subscribe
	// and topics.publish. Nil if the token does not have the list: what then holds is the configuration's. One that is
	// empty allows nothing.
	Subscribe, Publish []broker.Pattern
	// Class is the client's class of quotas, at most MaxClassBytes; empty for the default.
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
	keys   *KeySet
	parser *jwt.Parser
	now    func() time.Time
}

// New returns a Verifier. The error says what of cfg is wrong.
func New(cfg Config) (*Verifier, error) {
	if cfg.Leeway == 0 {
		cfg.Leeway = DefaultLeeway
	}
	if cfg.Leeway < 0 || cfg.Leeway > MaxLeeway {
		return nil, fmt.Errorf("auth.leeway is %v: want 0 to %v", cfg.Leeway, MaxLeeway)
	}
	if len(cfg.Keys) == 0 && cfg.Source == nil {
		return nil, fmt.Errorf("auth.keys is empty: %w: give at least one, or auth.jwks", ErrBadKey)
	}
	v := &Verifier{cfg: cfg, now: time.Now}
	var err error
	if v.keys, err = NewKeySet(cfg.Keys); err != nil {
		return nil, fmt.Errorf("auth.keys: %w", err)
	}

	options := []jwt.ParserOption{
		jwt.WithValidMethods(Algorithms()), jwt.WithLeeway(cfg.Leeway), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
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
	if _, err := v.parser.ParseWithClaims(text, &b, v.keyFor); err != nil {
		return nil, fmt.Errorf("%w: %w", outcome(err), err)
	}
	c := &Claims{Subject: b.Subject, Expires: b.ExpiresAt.Time, Until: b.ExpiresAt.Add(v.cfg.Leeway), Class: b.Class}
	if c.Subject == "" {
		return nil, fmt.Errorf("%w: sub is empty", ErrIncomplete)
	}
	if len(c.Subject) > MaxSubjectBytes || len(c.Class) > MaxClassBytes {
		return nil, fmt.Errorf("%w: sub has %d bytes, class %d: %d and %d are taken", ErrMalformed, len(c.Subject), len(c.Class), MaxSubjectBytes, MaxClassBytes)
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
	if texts != nil {
		all = []broker.Pattern{}
	}
	for _, text := range texts {
		p, err := broker.ParsePattern(text)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// keyFor is what may have signed a token: keys of its kid, and those without one; each of the token's algorithm.
func (v *Verifier) keyFor(t *jwt.Token) (any, error) {
	if crit, there := t.Header["crit"]; there {
		text, _ := json.Marshal(crit) //nolint:errchkjson // it was JSON
		return nil, fmt.Errorf("it demands what is not known here: crit %s", text)
	}
	id, _ := t.Header["kid"].(string)
	var set jwt.VerificationKeySet
	set.Keys = v.keys.appendFor(nil, id, t.Method.Alg())
	if v.cfg.Source == nil {
		return set, orNoKey(set, id, t.Method.Alg())
	}
	fetched := v.cfg.Source.KeySet()
	set.Keys = fetched.appendFor(set.Keys, id, t.Method.Alg())
	if len(set.Keys) > 0 {
		return set, nil
	}
	v.cfg.Source.Missed()
	if fetched == nil {
		return nil, ErrNoKeys
	}
	return nil, orNoKey(set, id, t.Method.Alg())
}

func orNoKey(set jwt.VerificationKeySet, id, algorithm string) error {
	if len(set.Keys) > 0 {
		return nil
	}
	return fmt.Errorf("no key of kid %q is for %s", id, algorithm)
}
